package test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// pinned is an image as "pin ls --json" lists it.
type pinned struct {
	Root, Name, State, Problem string
	Platforms                  []string
	Explicit, Whole            bool
	Size                       int64
	Missing                    []struct{ Size int64 }
}

func pins(t testing.TB, repo string) []pinned {
	t.Helper()
	var all []pinned
	decode(t, []byte(must(t, cli(t.Context(), repo, "pin", "ls", "--json"))), &all)
	return all
}

// pinOf is the entry of an image, the zero entry if there is none.
func pinOf(t testing.TB, repo, cid string) pinned {
	t.Helper()
	all := pins(t, repo)
	if i := slices.IndexFunc(all, func(p pinned) bool { return p.Root == cid }); i >= 0 {
		return all[i]
	}
	return pinned{}
}

type freed struct{ Blocks, Bytes, Kept int64 }

func collect(t testing.TB, repo string, flags ...string) freed {
	t.Helper()
	var f freed
	decode(t, []byte(must(t, cli(t.Context(), repo, append([]string{"gc", "--json"}, flags...)...))), &f)
	return f
}

func validate(t testing.TB, name string) {
	t.Helper()
	must(t, command(t.Context(), tool("crane"), "validate", "--remote", name))
}

// ipfs is Kubo's own command on a repository of ours.
func ipfsOn(t testing.TB, repo string, args ...string) string {
	t.Helper()
	cmd := command(t.Context(), tool("ipfs"), args...)
	cmd.Env = append(cmd.Env, "IPFS_PATH="+repo)
	return must(t, cmd)
}

// An image that is pinned stays whole when its publisher is gone, whatever form
// it has, through our own collections of garbage and Kubo's. What the ipfs
// command pinned stays too, and all goes when it is let go of.
func TestPinnedImageStays(t *testing.T) {
	images := testImages(t)
	a := serve(t, tempDir(t))
	forms := map[string]string{
		"layout":  push(t, a.repo, images.multi.spec()),
		"nerdctl": push(t, a.repo, "--format", "nerdctl", images.multi.spec()),
	}
	repo := tempDir(t)
	b := serve(t, repo, "--peer", a.address(t), "--pin-on-pull", "none")
	for form, cid := range forms {
		must(t, cli(t.Context(), repo, "pin", "add", "--name", form, cid))
		if p := pinOf(t, repo, cid); p.State != "kept" || p.Name != form || !p.Explicit || p.Whole != (form == "layout") {
			t.Errorf("%s is listed as %+v", form, p)
		}
	}
	a.terminate(t)
	collect(t, repo)
	for _, cid := range forms {
		validate(t, b.name(cid))
	}
	b.terminate(t)
	ipfsOn(t, repo, "repo", "gc", "--quiet")
	if out := ipfsOn(t, repo, "pin", "ls", "--names", "--type=recursive"); !strings.Contains(out, forms["layout"]+" recursive ipfs-registry: layout") ||
		!strings.Contains(out, forms["nerdctl"]+" recursive ipfs-registry: nerdctl") {
		t.Errorf("the ipfs command sees the pins\n%s", out)
	}
	theirs := strings.TrimSpace(ipfsOn(t, repo, "add", "--quieter", "--cid-version=1", images.multi.blob(images.multi.desc.Digest)))
	b = serve(t, repo, "--offline")
	for _, cid := range forms {
		validate(t, b.name(cid))
		must(t, cli(t.Context(), repo, "pin", "rm", cid))
	}
	if would, did := collect(t, repo, "--dry-run"), collect(t, repo); would.Bytes != did.Bytes || did.Bytes < 1<<20 {
		t.Errorf("the dry run would have freed %+v, and then %+v were", would, did)
	}
	if a := request(t, http.MethodGet, b.url("%s/manifests/latest", forms["nerdctl"])); a.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("an image that was let go of: %s", a.Status)
	}
	b.terminate(t)
	if data := ipfsOn(t, repo, "cat", "--offline", theirs); digest.FromString(data) != images.multi.desc.Digest {
		t.Error("what the ipfs command had pinned is gone")
	}
}

// Pinned for one platform, an image is served for that one.
func TestPinnedPlatform(t *testing.T) {
	images, c := testImages(t), containerdEngine(t)
	a := serve(t, tempDir(t))
	for _, form := range []string{"layout", "nerdctl"} {
		t.Run(form, func(t *testing.T) {
			cid := push(t, a.repo, "--format", form, images.multi.spec())
			b := serve(t, tempDir(t), "--peer", a.address(t), "--policy-serve", "pinned", "--fetch-timeout", giveUp.String())
			must(t, cli(t.Context(), b.repo, "pin", "add", "--platform", "linux/amd64", cid))
			expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t), "run", "--rm", "--quiet", "--net=host", b.name(cid))))
			out, err := output(c.nerdctl(t, namespaceOf(t), "pull", "--quiet", "--platform=arm64", b.name(cid)))
			if err == nil || !strings.Contains(err.Error(), "403") {
				t.Errorf("the platform that is not pinned: %s, %v", out, err)
			}
		})
	}
}

// An addition that is interrupted is listed as incomplete, and the daemon goes
// on with it by itself, also after it was killed.
func TestPinAddGoesOn(t *testing.T) {
	images := testImages(t)
	a := serve(t, tempDir(t))
	cid := push(t, a.repo, images.real.spec())
	repo := tempDir(t)
	b := serve(t, repo, "--fetch-timeout", "1s")
	out, err := output(cli(t.Context(), repo, "pin", "add", "--name", "real", cid))
	if err == nil || !strings.Contains(err.Error(), "incomplete") {
		t.Fatalf("without a source: %s, %v", out, err)
	}
	if p := pinOf(t, repo, cid); p.State != "incomplete" || p.Problem == "" {
		t.Errorf("listed as %+v", p)
	}
	for n := range 4 {
		if err := b.signal(syscall.SIGKILL, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		b = serve(t, repo, "--peer", a.address(t))
		if n == 3 {
			break
		}
		eventually(t, time.Minute, "it goes on", func() error {
			if p := pinOf(t, repo, cid); p.State == "incomplete" && p.Size == 0 {
				return fmt.Errorf("nothing has come of %+v", p)
			}
			return nil
		})
	}
	eventually(t, 2*time.Minute, "it is kept", func() error {
		if p := pinOf(t, repo, cid); p.State != "kept" || p.Name != "real" || len(p.Missing) > 0 {
			return fmt.Errorf("listed as %+v", p)
		}
		return nil
	})
	a.terminate(t)
	collect(t, repo)
	validate(t, b.name(cid))
}

// What containerd pulls is kept, of several platforms the one that was pulled,
// and with on_pull none it is not.
func TestPulledIsKept(t *testing.T) {
	images, c := testImages(t), containerdEngine(t)
	a := serve(t, tempDir(t))
	for _, form := range []string{"layout", "nerdctl"} {
		t.Run(form, func(t *testing.T) {
			cid := push(t, a.repo, "--format", form, images.multi.spec())
			b := serve(t, tempDir(t), "--peer", a.address(t))
			must(t, c.nerdctl(t, namespaceOf(t), "pull", "--quiet", b.name(cid)))
			eventually(t, time.Minute, "it is kept", func() error {
				if p := pinOf(t, b.repo, cid); p.State != "kept" || p.Explicit {
					return fmt.Errorf("listed as %+v", p)
				}
				return nil
			})
			b.terminate(t)
			collect(t, b.repo)
			b = serve(t, b.repo, "--offline")
			again := namespaceOf(t) + "-again"
			expectGreeting(t, must(t, c.nerdctl(t, again, "run", "--rm", "--quiet", "--net=host", b.name(cid))))
		})
	}
	t.Run("none", func(t *testing.T) {
		cid := push(t, a.repo, images.scratch.spec())
		b := serve(t, tempDir(t), "--peer", a.address(t), "--pin-on-pull", "none")
		must(t, c.nerdctl(t, namespaceOf(t), "pull", "--quiet", b.name(cid)))
		if f := collect(t, b.repo); f.Bytes < 1<<20 {
			t.Errorf("a collection freed %+v; want the image, which is not kept", f)
		}
		if all := pins(t, b.repo); len(all) > 0 {
			t.Errorf("listed: %+v", all)
		}
	})
}

// The policy holds for every client, and the list is read again when it changes.
func TestServePolicy(t *testing.T) {
	images, c := testImages(t), containerdEngine(t)
	a := serve(t, tempDir(t))
	listed, other := push(t, a.repo, images.scratch.spec()), push(t, a.repo, images.multi.spec())
	denied := func(t *testing.T, d *daemon, cid string, blob digest.Digest, says string) {
		t.Helper()
		_, err := output(c.nerdctl(t, namespaceOf(t), "pull", "--quiet", d.name(cid)))
		if err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("nerdctl pull gave %v; want 403", err)
		}
		for _, path := range []string{"manifests/latest", "tags/list", "blobs/" + blob.String()} {
			if a := request(t, http.MethodGet, d.url("%s/%s", cid, path)); a.StatusCode != http.StatusForbidden || a.code() != "DENIED" || !strings.Contains(string(a.body), says) {
				t.Errorf("%s: %s %s", path, a.Status, a.body)
			}
		}
	}
	t.Run("pinned", func(t *testing.T) {
		b := serve(t, tempDir(t), "--peer", a.address(t), "--policy-serve", "pinned")
		denied(t, b, listed, images.scratch.desc.Digest, "not kept")
		must(t, cli(t.Context(), b.repo, "pin", "add", listed))
		expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t), "run", "--rm", "--quiet", "--net=host", b.name(listed))))
	})
	t.Run("list", func(t *testing.T) {
		list := filepath.Join(t.TempDir(), "list")
		write := func(lines ...string) {
			t.Helper()
			if err := os.WriteFile(list+".new", []byte(strings.Join(lines, "\n")), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(list+".new", list); err != nil {
				t.Fatal(err)
			}
		}
		write("# what may run here", listed)
		b := serve(t, tempDir(t), "--peer", a.address(t), "--policy-serve", "list", "--policy-list", list)
		expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t), "run", "--rm", "--quiet", "--net=host", b.name(listed))))
		denied(t, b, other, images.multi.desc.Digest, "does not list")
		if _, err := output(cli(t.Context(), b.repo, "pin", "add", other)); err == nil || !strings.Contains(err.Error(), "does not list") {
			t.Errorf("pin add of what is not listed gave %v", err)
		}
		write("sha256:"+strings.Repeat("0", 64), images.multi.desc.Digest.String())
		again := namespaceOf(t) + "-again"
		expectGreeting(t, must(t, c.nerdctl(t, again, "run", "--rm", "--quiet", "--net=host", b.name(other))))
		denied(t, b, listed, images.scratch.desc.Digest, "does not list")
		write("this is neither")
		denied(t, b, other, images.multi.desc.Digest, "line 1")
	})
}

// What a request in flight reads is not collected, although nothing keeps it and
// nobody else has it.
func TestCollectionSparesRequests(t *testing.T) {
	images := testImages(t)
	a := serve(t, tempDir(t))
	cid := push(t, a.repo, images.real.spec())
	b := serve(t, tempDir(t), "--peer", a.address(t), "--pin-on-pull", "none")
	validate(t, b.name(cid))
	a.terminate(t)
	layer := images.real.manifest(t).Layers[0]
	res, err := http.Get(b.url("%s/blobs/%s", cid, layer.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	sum := sha256.New()
	for n := 0; ; n++ {
		// Much less than the layer: buffers between here and the daemon are some megabytes.
		_, err := io.CopyN(sum, res.Body, layer.Size/16)
		if n < 4 {
			if f := collect(t, b.repo); n == 0 && f.Bytes < 1<<20 {
				t.Errorf("the collection freed %+v; want the other layers", f)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("after %d parts: %v", n, err)
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != layer.Digest.Encoded() {
		t.Errorf("read %s; want %s", got, layer.Digest)
	}
	res.Body.Close()
	eventually(t, time.Minute, "the layer is collected when it is read", func() error {
		if f := collect(t, b.repo); f.Kept > 16 {
			return fmt.Errorf("%+v", f)
		}
		return nil
	})
}

// A pull onto a full disk fails and says so; the daemon goes on, makes room and
// serves what fits.
func TestPullOntoFullDisk(t *testing.T) {
	const ballast = 64 // MiB: if the disk had nothing else, the image would fit
	images := testImages(t)
	a := serve(t, tempDir(t))
	large, small := push(t, a.repo, images.real.spec()), push(t, a.repo, images.scratch.spec())
	disk := smallDisk(t, 96+ballast)
	if err := os.WriteFile(filepath.Join(disk, "ballast"), make([]byte, ballast<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	b := serve(t, filepath.Join(disk, "repo"), "--peer", a.address(t))
	layer := images.real.manifest(t).Layers[0]
	for range 2 {
		res, err := http.Get(b.url("%s/blobs/%s", large, layer.Digest))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err == nil && res.StatusCode == http.StatusOK {
			t.Fatalf("%d bytes of a layer of %d fit onto the disk", n, layer.Size)
		}
		eventually(t, time.Minute, "the daemon makes room", func() error {
			var fs syscall.Statfs_t
			if err := syscall.Statfs(b.repo, &fs); err != nil {
				return err
			}
			if fs.Bavail*100 < fs.Blocks*15 { // the watermark leaves 10 %
				return fmt.Errorf("%d of %d blocks are free", fs.Bavail, fs.Blocks)
			}
			return nil
		})
		validate(t, b.name(small))
	}
	if says := b.log.String(); !strings.Contains(says, "the disk of the repository is full") || !strings.Contains(says, "collected garbage") {
		t.Errorf("the daemon said\n%s", says)
	}
	if out, err := output(cli(t.Context(), b.repo, "pin", "add", large)); err == nil || !strings.Contains(err.Error(), "the disk of the repository is full") {
		t.Errorf("pin add gave %s, %v", out, err)
	}
	must(t, cli(t.Context(), b.repo, "pin", "rm", large))
	collect(t, b.repo)
	validate(t, b.name(small))
	b.terminate(t)
}

// smallDisk is an ext4 file system of some MiB in a file.
func smallDisk(t testing.TB, size int64) string {
	t.Helper()
	dir := tempDir(t)
	file, disk := filepath.Join(dir, "disk.img"), filepath.Join(dir, "disk")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size<<20), os.Mkdir(disk, 0o755)); err != nil {
		t.Fatal(err)
	}
	must(t, command(t.Context(), "mkfs.ext4", "-q", "-m", "0", file))
	must(t, command(t.Context(), "mount", "-o", "loop", file, disk))
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) }) // it is below a directory that is unmounted and removed at the end
	return disk
}
