package image_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

// belonging is a Source that notes to which image belongs what is opened elsewhere
// than at its root.
type belonging struct {
	prefetching
	root cid.Cid

	mu     sync.Mutex
	images []cid.Cid
}

func (s *belonging) Open(ctx ctx, p image.Path) (image.File, error) {
	if p.Root != s.root {
		root, _ := image.RootIn(ctx)
		s.mu.Lock()
		s.images = append(s.images, root)
		s.mu.Unlock()
	}
	return s.prefetching.Open(ctx, p)
}

// Where each blob has a CID of its own, the Source is told which image it is of.
func TestBlobsBelongToTheirImage(t *testing.T) {
	b, s := imagetest.Blobs{}, &belonging{prefetching: prefetching{Store: imagetest.NewStore()}}
	root, desc := b.Nerdctl(s.Store, b.Image("amd64", bytes.Repeat([]byte("layer"), 1<<20)))
	s.root = root
	r := resolver(s)
	m, err := r.Manifest(t.Context(), at(root), desc.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Layers []struct{ Digest digest.Digest }
	}
	decode(t, m, &manifest)
	layer, err := r.Blob(t.Context(), at(root), manifest.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, layer)
	if _, err := r.Closure(t.Context(), at(root), image.Selection{}); err != nil {
		t.Fatal(err)
	}
	if len(s.images) < 3 {
		t.Errorf("%d were opened, want manifest and layer, and the manifest for the closure", len(s.images))
	}
	for _, of := range s.images {
		if of != root {
			t.Errorf("opened as one of the image %s, want %s", of, root)
		}
	}
	for _, part := range s.calls[0] {
		if part.Image != root {
			t.Errorf("prefetched as one of the image %s, want %s", part.Image, root)
		}
	}
}
