package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// lazyContainer runs an image that is mounted lazily by way of a daemon.
type lazyContainer struct {
	t         *testing.T
	c         *containerd
	namespace string
}

// read is a command that reads 64 KiB of /srv/random, which lies in chunks of 4 MiB
// that are fetched one by one and kept.
func (l *lazyContainer) read(chunk int) *exec.Cmd {
	return l.c.nerdctl(l.t, l.namespace, "exec", "lazy", "sh", "-c",
		fmt.Sprintf("dd if=/srv/random bs=64k count=1 skip=%d 2>/dev/null | sha256sum", chunk*64))
}

// chunkSum is the digest of what read reads.
func chunkSum(t *testing.T, chunk int) string {
	t.Helper()
	data := make([]byte, 12<<20)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(data); err != nil {
		t.Fatal(err)
	}
	return digest.FromBytes(data[chunk*4<<20:][:64<<10]).Encoded()
}

func (l *lazyContainer) expect(chunk int, what string) {
	l.t.Helper()
	if out := must(l.t, l.read(chunk)); !strings.HasPrefix(out, chunkSum(l.t, chunk)) {
		l.t.Errorf("%s: read %q; want %s", what, out, chunkSum(l.t, chunk))
	}
}

// A container that has started goes on through what befalls the registry and
// the way to where the image is: a read waits or fails, and the same read
// succeeds afterwards, in the same container.
func TestALazyContainerSurvives(t *testing.T) {
	images := testImages(t)
	// Snapshots of the same layers are shared, and these lose their registry.
	c, err := launchContainerd(tempDir(t))
	if c != nil {
		t.Cleanup(c.stop)
	}
	if err != nil {
		t.Fatal(err)
	}
	seed, far := serve(t, tempDir(t)), startToxiproxy(t)
	cid := push(t, seed.repo, "--estargz", images.real.spec())
	_, rest, _ := strings.Cut(seed.address(t), "/tcp/")
	seedPort, peer, _ := strings.Cut(rest, "/")
	way := far.port(t, "127.0.0.1:"+seedPort)
	cmd, d, err := serveCommand(tempDir(t), "--peer", "/ip4/127.0.0.1/tcp/"+way+"/"+peer, "--fetch-timeout", "3s")
	if err != nil {
		t.Fatal(err)
	}
	again := func() {
		d.process = start(t, "ipfs-registry", cli(context.Background(), d.repo, cmd.Args[3:]...))
		if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
			t.Fatal(err)
		}
	}
	again()
	l := &lazyContainer{t, c, namespaceOf(t)}
	must(t, c.nerdctl(t, l.namespace, "--snapshotter=stargz", "run", "-d", "--name=lazy", "--net=host", "--entrypoint=sleep", "--quiet", d.name(cid), "infinity"))
	t.Cleanup(func() {
		if err := c.nerdctlWithin(context.Background(), l.namespace, "rm", "-f", "lazy").Run(); err != nil {
			t.Error(err)
		}
	})
	c.mountsLazily(t, l.namespace, 3)

	// Slow: at 2 MB/s all that is read takes longer than the time in which
	// something has to arrive.
	far.call(t, "/proxies/"+way+"/toxics", map[string]any{"name": "slow", "type": "bandwidth", "stream": "downstream", "attributes": map[string]any{"rate": 2000}})
	l.expect(0, "from a slow peer")
	far.remove(t, "/proxies/"+way+"/toxics/slow")

	// Cut off: the registry says 504, the snapshotter asks again and in the end
	// the program sees an error, or the network is back before.
	unavailable := func() float64 { return metric(t, d, "ipfs_registry_retrieval_failures_total") }
	before := unavailable()
	// The connection stays and carries nothing: it must not be made anew past
	// the proxy.
	for _, stream := range []string{"upstream", "downstream"} {
		far.call(t, "/proxies/"+way+"/toxics", map[string]any{"name": "cut-" + stream, "type": "timeout", "stream": stream, "attributes": map[string]any{"timeout": 0}})
	}
	done := make(chan error, 1)
	go func() { _, err := output(l.read(1)); done <- err }()
	eventually(t, time.Minute, "a read during the cut is refused", func() error {
		if unavailable() == before {
			return errors.New("none has been refused")
		}
		return nil
	})
	for _, stream := range []string{"upstream", "downstream"} {
		far.remove(t, "/proxies/"+way+"/toxics/cut-"+stream)
	}
	t.Logf("the read during the cut: %v", <-done)
	eventually(t, time.Minute, "the chunk is read after the cut", func() error {
		out, err := output(l.read(1))
		if err == nil && !strings.HasPrefix(out, chunkSum(t, 1)) {
			err = fmt.Errorf("read %q", out)
		}
		return err
	})

	// Away: what has been read is still there, what has not is an error.
	if err := d.signal(syscall.SIGTERM, 15*time.Second); err != nil {
		t.Fatal(err)
	}
	l.expect(0, "what had been read, without a registry")
	if out, err := output(l.read(2)); err == nil && strings.HasPrefix(out, chunkSum(t, 2)) {
		t.Error("what nobody had read was there without a registry")
	}
	again()
	l.expect(2, "after the restart of the registry")
}

const partialConfig = `[storage]
driver = "overlay"
graphroot = "%[1]s/root"
runroot = "%[1]s/run"
[storage.options]
pull_options = {enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}
`

// podman pulls what it has not got of a zstd:chunked layer, by many ranges in a
// request.
func TestPodmanPullsInPart(t *testing.T) {
	dir := tempDir(t)
	config := filepath.Join(dir, "storage.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, partialConfig, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	d := serve(t, tempDir(t))
	pull := func(cid string) int64 {
		before := bytesServed(t, d)
		cmd := command(t.Context(), "podman", "pull", "--quiet", "--tls-verify=false", d.name(cid))
		// What it remembers of blobs it keeps in its home.
		cmd.Env = append(cmd.Env, "CONTAINERS_STORAGE_CONF="+config, "HOME="+dir)
		must(t, cmd)
		return bytesServed(t, d) - before
	}
	seed := byte(rand.Uint32()) // or it would remember those of the last run
	first := push(t, d.repo, "--zstd-chunked", manyFiles(t, seed, 30).spec())
	second := push(t, d.repo, "--zstd-chunked", manyFiles(t, seed, 31).spec())
	if n := pull(first); n < 30<<20 {
		t.Errorf("%d bytes were served for an image of 30 MiB", n)
	}
	if n := pull(second); n > 6<<20 {
		t.Errorf("%d bytes were served for an image of which one file of 1 MiB is new", n)
	}
}

// manyFiles is an image of files of 1 MiB each, in one layer.
func manyFiles(t *testing.T, seed byte, n int) layout {
	t.Helper()
	dir := filepath.Join(tempDir(t), "image")
	if err := makeLayout(dir, func(w *layoutWriter) error {
		all := files{}
		for i := range n {
			data, err := io.ReadAll(io.LimitReader(rand.NewChaCha8([32]byte{byte(i), 9, seed}), 1<<20))
			if err != nil {
				return err
			}
			all[fmt.Sprintf("srv/%03d", i*7%n)] = struct {
				data []byte
				mode int64
			}{bytes.Clone(data), 0o644}
		}
		l, err := w.layer(all.write)
		if err != nil {
			return err
		}
		m, err := w.image(platform("amd64"), []string{"/none"}, l)
		return w.tag(m, err)
	}); err != nil {
		t.Fatal(err)
	}
	desc, err := rootOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	return layout{dir, desc}
}
