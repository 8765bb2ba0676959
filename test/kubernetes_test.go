package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// criTables is what a containerd needs besides that a kubelet talks to here:
// images that no test fetches from elsewhere, and nothing of the host's.
const criTables = `
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = %q
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins."io.containerd.nri.v1.nri"]
  disable = true
`

// What a kubelet asks of containerd, set up as docs/lazy-pulling.md says, starts a
// pod whose image is mounted lazily; the pod itself is held by an image on IPFS.
func TestPodOfALazyImage(t *testing.T) {
	images, d := testImages(t), serve(t, tempDir(t))
	pause := layout{dir: filepath.Join(tempDir(t), "pause")}
	if err := makeLayout(pause.dir, makePause); err != nil {
		t.Fatal(err)
	}
	tables := kubernetesTables(t) + fmt.Sprintf(criTables, d.name(push(t, d.repo, pause.spec())))
	c, err := launchContainerdWith(tempDir(t), "", tables)
	if c != nil {
		t.Cleanup(c.stop)
	}
	if err != nil {
		t.Fatal(err)
	}
	name, before := d.name(push(t, d.repo, "--estargz", images.real.spec())), bytesServed(t, d)
	expectGreeting(t, must(t, command(t.Context(), tool("cri"), "-address", c.address, "-image", name)))
	c.mountsLazily(t, "k8s.io", 3)
	if served := bytesServed(t, d) - before; served > 60<<20 {
		t.Errorf("%d bytes were served to start a container; want a part of the image's 130 MB", served)
	}
}

func makePause(w *layoutWriter) error {
	l, err := w.busyboxLayer()
	if err != nil {
		return err
	}
	m, err := w.image(platform("amd64"), []string{"/bin/busybox", "sleep", "infinity"}, l)
	return w.tag(m, err)
}

// kubernetesTables is the configuration that docs/lazy-pulling.md gives for
// Kubernetes.
func kubernetesTables(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("../docs/lazy-pulling.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "**Kubernetes.**")
	_, rest, _ = strings.Cut(rest, "```toml\n")
	tables, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/lazy-pulling.md has no configuration for Kubernetes")
	}
	return tables
}
