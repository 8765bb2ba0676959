package test

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestCrane(t *testing.T) {
	p := publishedImages(t)
	crane := func(t *testing.T, args ...string) string {
		return strings.TrimSpace(must(t, command(t.Context(), tool("crane"), args...)))
	}
	p.forEach(t, []string{"real", "multi", "scratch"}, func(t *testing.T, image, name string) {
		desc := p.descriptor(t, filepath.Base(name), "latest")
		if got := crane(t, "digest", name); got != desc.Digest.String() {
			t.Errorf("crane digest says %s; want %s", got, desc.Digest)
		}
		if got := crane(t, "manifest", name); !strings.Contains(got, desc.MediaType) {
			t.Errorf("crane manifest prints no %s: %s", desc.MediaType, got)
		}
		if got := crane(t, "ls", name); !strings.Contains(got, "latest") && !strings.Contains(got, imageTag) {
			t.Errorf("crane ls prints %q", got)
		}
		crane(t, "validate", "--remote", name) // every byte of every layer
		crane(t, "pull", "--format=oci", name, filepath.Join(t.TempDir(), image))
	})
}
