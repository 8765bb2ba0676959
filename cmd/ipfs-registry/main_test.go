package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var update = flag.Bool("update", false, "rewrite docs/cli.md and what the scripts expect")

// The test binary is also the program, for the scripts and for the tests that
// need a process.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ipfs-registry": main})
}

// The terminal sessions: what the program prints is part of its interface.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			e.Setenv("IPFS_REGISTRY_BOOTSTRAP", "none")
			if err := os.Mkdir(home, 0o700); err != nil {
				return err
			}
			// Two blocks of zeros are a tar file of no entries.
			if err := os.WriteFile(filepath.Join(e.WorkDir, "app-1.0.tar"), make([]byte, 1024), 0o600); err != nil {
				return err
			}
			return writeLayout(filepath.Join(e.WorkDir, "layout"), []byte("hello\n"))
		},
	})
}

func TestDocumentationIsTheCommandLine(t *testing.T) {
	const path = "../../docs/cli.md"
	var want bytes.Buffer
	want.WriteString("# Command line\n\nThis page is generated from the verbs: `make docs`. What the settings mean is in [configuration](configuration.md).\n\n")
	root := (&cli{out: io.Discard, err: io.Discard}).root()
	if err := writeDocs(&want, root); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what --help says; run: make docs", path)
	}
}

func writeDocs(w *bytes.Buffer, cmd *cobra.Command) error {
	cmd.DisableAutoGenTag = true
	err := doc.GenMarkdownCustom(cmd, w, func(file string) string {
		return "#" + strings.ReplaceAll(strings.TrimSuffix(file, ".md"), "_", "-")
	})
	for _, sub := range cmd.Commands() {
		if err == nil && sub.Name() != "help" {
			err = writeDocs(w, sub)
		}
	}
	return err
}

// Every verb that prints a result can print it as JSON.
func TestEveryVerbHasJSON(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if !cmd.HasSubCommands() && cmd.Name() != "serve" && cmd.Flags().Lookup("json") == nil {
			t.Errorf("%s has no --json", cmd.CommandPath())
		}
	}
	walk((&cli{out: io.Discard, err: io.Discard}).root())
}

func TestExitStatus(t *testing.T) {
	repo := t.TempDir()
	for line, want := range map[string]int{
		"version":                             done,
		"--help":                              done,
		"cid bafkqaaa":                        done,
		"config validate":                     done,
		"":                                    misused,
		"nonsense":                            misused,
		"swarm":                               misused,
		"swarm nonsense":                      misused,
		"version --nonsense":                  misused,
		"version too many":                    misused,
		"cid":                                 misused,
		"cid nonsense":                        misused,
		"resolve nonsense":                    misused,
		"config validate --listen nonsense":   misused,
		"serve --config /nonexistent":         misused,
		"push nonsense":                       misused,
		"push --format nonsense oci:/nowhere": misused,
		"push oci:/nonexistent":               failed,
		"swarm peers":                         failed,
		"resolve --offline bafkqaaa":          failed,
		"serve --private --listen localhost:0 --admin none": failed,
	} {
		status := run(t.Context(), strings.Fields(line), []string{"IPFS_REGISTRY_REPO=" + filepath.Join(repo, "r")}, io.Discard, io.Discard)
		if status != want {
			t.Errorf("%q: exit status %d, want %d", line, status, want)
		}
	}
}

// A failure has its whole message on the last line.
func TestErrorIsOneLine(t *testing.T) {
	var out, stderr bytes.Buffer
	status := run(t.Context(), []string{"config", "validate"}, []string{"HOME=/h", "IPFS_REGISTRY_LISTEN=a\nb"}, &out, &stderr)
	if status != misused || out.Len() > 0 {
		t.Errorf("status %d, stdout %q", status, &out)
	}
	if !regexp.MustCompile(`^error: .*listen.*\n$`).MatchString(stderr.String()) {
		t.Errorf("stderr %q", &stderr)
	}
}
