package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An image goes to a host without a network in a file, in whatever form, beside
// a daemon and without one, and Kubo takes the file too.
func TestExportAndImport(t *testing.T) {
	images, dir := testImages(t), t.TempDir()
	from := serve(t, tempDir(t))
	alone := tempDir(t)
	to := serve(t, tempDir(t), "--offline")
	for name, args := range map[string][]string{
		"layout":  {images.real.spec()},
		"nerdctl": {"--format", "nerdctl", images.multi.spec()},
	} {
		t.Run(name, func(t *testing.T) {
			cid, car := push(t, from.repo, args...), filepath.Join(dir, name+".car")
			must(t, cli(t.Context(), from.repo, "export", cid, car))
			for _, repo := range []string{alone, to.repo} {
				if got := lastLine(must(t, cli(t.Context(), repo, "import", "--name", "carried", car))); got != cid {
					t.Errorf("imported %s; want %s", got, cid)
				}
				if got := must(t, cli(t.Context(), repo, "pin", "ls")); !strings.Contains(got, cid) || !strings.Contains(got, "carried") {
					t.Errorf("it is not kept: %s", got)
				}
				must(t, cli(t.Context(), repo, "gc"))
			}
			must(t, command(t.Context(), tool("crane"), "validate", "--remote", to.name(cid)))
			kubo := filepath.Join(t.TempDir(), "kubo")
			ipfs := func(args ...string) string {
				cmd := command(t.Context(), tool("ipfs"), append([]string{"--offline"}, args...)...)
				cmd.Env = append(cmd.Env, "IPFS_PATH="+kubo)
				return must(t, cmd)
			}
			ipfs("init", "--empty-repo")
			if got := ipfs("dag", "import", car); !strings.Contains(got, cid) {
				t.Errorf("Kubo imported %s", got)
			}
			// A copy that is cut short is refused, and nothing is kept of it.
			data, err := os.ReadFile(car)
			if err != nil {
				t.Fatal(err)
			}
			cut, empty := filepath.Join(dir, "cut.car"), tempDir(t)
			if err := os.WriteFile(cut, data[:len(data)-1000], 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := output(cli(t.Context(), empty, "import", cut)); err == nil {
				t.Errorf("half a file was imported: %s", out)
			}
			if got := must(t, cli(t.Context(), empty, "pin", "ls")); strings.Contains(got, cid) {
				t.Errorf("half a file is kept: %s", got)
			}
		})
	}
	// An export that fails leaves nothing behind.
	if out, err := output(cli(t.Context(), to.repo, "export", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", filepath.Join(dir, "none.car"))); err == nil {
		t.Errorf("nothing was exported: %s", out)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 3 {
		t.Errorf("%v (%v); want the two exports and the cut one", left, err)
	}
}
