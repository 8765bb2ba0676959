package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A container starts from an image of which it reads only what it needs, over
// FUSE, once through the registry and once through the Kubo RPC.
func TestStargz(t *testing.T) {
	images, c := testImages(t), containerdEngine(t)
	d, _, nerdctl := rpcDaemon(t, c)
	c.useRPC(t, d)
	name := d.name(push(t, d.repo, "--estargz", images.real.spec()))
	uri := "ipfs://" + push(t, d.repo, "--estargz", "--format", "nerdctl", images.real.spec())
	for _, tc := range []struct {
		name, image string
		pull        func(namespace string) *exec.Cmd
	}{
		{"registry", name, func(namespace string) *exec.Cmd {
			return nerdctl(namespace, "--snapshotter=stargz", "pull", "--quiet", name)
		}},
		{"rpc", uri, func(namespace string) *exec.Cmd {
			return nerdctl(namespace, "--snapshotter=stargz", "pull", "--quiet", uri)
		}},
		{"ctr-remote", name + ":latest", func(namespace string) *exec.Cmd {
			return command(t.Context(), "ctr-remote", "--address", c.address, "--namespace", namespace, "images", "rpull", "--plain-http", name+":latest")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			namespace := namespaceOf(t)
			before := bytesServed(t, d)
			must(t, tc.pull(namespace))
			c.mountsLazily(t, namespace, 3)
			expectGreeting(t, must(t, nerdctl(namespace, "--snapshotter=stargz", "run", "--rm", "--net=host", "--pull=never", tc.image)))
			if served := bytesServed(t, d) - before; tc.name == "registry" && (served == 0 || served > 60<<20) {
				t.Errorf("%d bytes were served to start a container; want a part of the image's 130 MB", served)
			}
		})
	}
	// What is no eStargz is pulled whole, or the count above would prove nothing.
	t.Run("an ordinary image", func(t *testing.T) {
		namespace, image := namespaceOf(t), d.name(push(t, d.repo, images.scratch.spec()))
		must(t, nerdctl(namespace, "--snapshotter=stargz", "pull", "--quiet", image))
		if n := c.lazyMounts(namespace); n != 0 {
			t.Errorf("%d layers were mounted by FUSE; want none", n)
		}
		expectGreeting(t, must(t, nerdctl(namespace, "--snapshotter=stargz", "run", "--rm", "--net=host", "--pull=never", image)))
	})
}

// useRPC has stargz-snapshotter find the RPC of a daemon: by the API file of its
// repository.
func (c *containerd) useRPC(t testing.TB, d *daemon) {
	t.Helper()
	api, err := os.ReadFile(filepath.Join(d.repo, "api"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.ipfsRepo, "api"), api, 0o600); err != nil {
		t.Fatal(err)
	}
}

// mountsLazily waits until so many layers of a namespace are mounted by FUSE.
func (c *containerd) mountsLazily(t testing.TB, namespace string, want int) {
	t.Helper()
	eventually(t, startLimit, "layers are mounted by FUSE", func() error {
		if n := c.lazyMounts(namespace); n != want {
			return fmt.Errorf("%d are; want %d", n, want)
		}
		return nil
	})
}

// lazyMounts is how many layers stargz-snapshotter has mounted for a namespace.
// Its log tells, where the mounts themselves would not: containerd collects them
// as garbage whenever it likes, and what can't be mounted is pulled instead.
func (c *containerd) lazyMounts(namespace string) (n int) {
	for line := range strings.Lines(c.stargz.log.String()) {
		switch {
		case !strings.Contains(line, `key="`+namespace+"/"):
		case strings.Contains(line, "level=info") && strings.Contains(line, "preparing filesystem mount"):
			n++
		case strings.Contains(line, "level=warn"), strings.Contains(line, "level=error"):
			n--
		}
	}
	return n
}

// bytesServed is the daemon's own count.
func bytesServed(t testing.TB, d *daemon) int64 {
	t.Helper()
	return int64(metric(t, d, "ipfs_registry_response_bytes_total"))
}
