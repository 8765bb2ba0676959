package image

import (
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Images that begin with megabytes of descriptors push the others out, and are no
// more than fit; the last one stays whatever it has.
func TestRecentImagesAreBounded(t *testing.T) {
	r := newRecent()
	add := func(name string, size int) {
		large := ocispec.Descriptor{Annotations: map[string]string{"is": strings.Repeat("x", size)}}
		r.add(Path{Rest: name}, &resolved{weight: weigh([]ocispec.Descriptor{large})})
	}
	add("small", 10)
	for _, name := range strings.Split("abcdefghijkl", "") {
		add(name, MaxManifest)
		add(name, MaxManifest) // who resolves it a second time changes nothing
	}
	if n := r.images.Len(); n != 7 || r.roots > maxKeptRoots || r.roots < 7*MaxManifest {
		t.Errorf("%d images with %d bytes are kept, want 7 with %d at most", n, r.roots, maxKeptRoots)
	}
	if _, ok := r.get(Path{Rest: "small"}); ok {
		t.Error("the first one is kept")
	}
	if add("huge", 2*maxKeptRoots); r.images.Len() != 1 {
		t.Errorf("%d images are kept besides one that is larger than all", r.images.Len())
	}
	if add("small", 10); r.images.Len() != 1 || r.roots > 1000 {
		t.Errorf("%d images with %d bytes are kept in the end", r.images.Len(), r.roots)
	}
}
