package image_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

// prefetching is a Source that notes what it is to prefetch.
type prefetching struct {
	*imagetest.Store
	calls [][]image.Part
}

func (s *prefetching) Prefetch(parts []image.Part) { s.calls = append(s.calls, parts) }

// The first read of a manifest has its blobs fetched, once. A HEAD reads nothing.
func TestReadingAManifestPrefetches(t *testing.T) {
	b, s := imagetest.Blobs{}, &prefetching{Store: imagetest.NewStore()}
	small, big := []byte("small"), bytes.Repeat([]byte("8 bytes "), 1<<20)
	index := b.Index(b.Image("amd64", small, big))
	manifest := b.Image("amd64", small, big)
	r, p := resolver(s), at(b.Layout(s.Store, nil, index))
	read := func(ref string) {
		c, err := r.Manifest(t.Context(), p, ref)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.calls) > 0 {
			t.Fatalf("%v before anything was read", s.calls)
		}
		readAll(t, c)
	}
	if read("latest"); len(s.calls) != 0 {
		t.Errorf("an index had %v prefetched", s.calls)
	}
	if read(manifest.Digest.String()); len(s.calls) != 1 {
		t.Fatalf("a manifest had %v prefetched", s.calls)
	}
	parts := s.calls[0]
	if len(parts) != 3 || parts[0].To > 1<<10 || parts[1].To != 5 || parts[2].To != 4<<20 {
		t.Errorf("prefetched %v", parts)
	}
	for i, part := range parts {
		f, err := s.Open(t.Context(), part.Path)
		if err != nil || part.From != 0 || part.To > f.Size() {
			t.Errorf("part %d, %v: %v", i, part, err)
		}
	}
}

// However many and large they are, it is a bounded part of them.
func TestPrefetchIsBounded(t *testing.T) {
	b, s := imagetest.Blobs{}, &prefetching{Store: imagetest.NewStore()}
	var layers [][]byte
	for i := range 12 {
		layers = append(layers, bytes.Repeat([]byte{byte(i), 1, 2, 3, 4, 5, 6, 7}, 1<<20))
	}
	c, err := resolver(s).Manifest(t.Context(), at(b.Layout(s.Store, nil, b.Image("amd64", layers...))), "latest")
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, c)
	var sum int64
	for _, part := range slices.Concat(s.calls...) {
		if part.To-part.From > 4<<20 {
			t.Errorf("%v is %d bytes", part.Path, part.To-part.From)
		}
		sum += part.To - part.From
	}
	if sum != 32<<20 {
		t.Errorf("%d bytes in all, want 32 MiB", sum)
	}
}

// In an archive a blob is a section of the one file.
func TestPrefetchInAnArchive(t *testing.T) {
	b, s := imagetest.Blobs{}, &prefetching{Store: imagetest.NewStore()}
	layer := bytes.Repeat([]byte("layer"), 1000)
	root := s.AddFile(b.OCIArchive(b.Image("amd64", layer)))
	c, err := resolver(s).Manifest(t.Context(), at(root), "latest")
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, c)
	if len(s.calls) != 1 || len(s.calls[0]) != 2 {
		t.Fatalf("prefetched %v", s.calls)
	}
	part := s.calls[0][1]
	f, err := s.Open(t.Context(), part.Path)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, part.To-part.From)
	if _, err := f.Seek(part.From, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(f, got); err != nil || digest.FromBytes(got) != digest.FromBytes(layer) {
		t.Error(fmt.Errorf("%v is not the layer: %w", part, err))
	}
}
