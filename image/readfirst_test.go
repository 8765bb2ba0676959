package image_test

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

// Of a layer that is read lazily, what is read first is prefetched, and not its
// beginning.
func TestPrefetchOfALazyLayer(t *testing.T) {
	const size = 80 << 20
	for name, tc := range map[string]struct {
		annotations map[string]string
		want        [][2]int64
	}{
		"ours":             {map[string]string{image.AnnotationReadFirst: "83012345:873735,1000:1000", "containerd.io/snapshot/stargz/toc.digest": "sha256:1"}, [][2]int64{{83000000, size}, {0, 50000}}},
		"eStargz":          {map[string]string{"containerd.io/snapshot/stargz/toc.digest": "sha256:1"}, [][2]int64{{0, 2}, {82550000, size}}},
		"zstd:chunked":     {map[string]string{"io.github.containers.zstd-chunked.manifest-position": "83000000:500:9000:1"}, [][2]int64{{83000000, size}, {0, 2}}},
		"a table too long": {map[string]string{"io.containers.zstd-chunked.manifest-position": "1000:500:9000:1"}, [][2]int64{{0, 2}, {size - 4<<20, size}}},
		"beyond the end":   {map[string]string{image.AnnotationReadFirst: "83886080:1,-1:5,9:99999999999999"}, [][2]int64{{0, 4 << 20}}},
		"nonsense":         {map[string]string{image.AnnotationReadFirst: "here"}, [][2]int64{{0, 4 << 20}}},
		"nothing":          {nil, [][2]int64{{0, 4 << 20}}},
	} {
		t.Run(name, func(t *testing.T) {
			b, s := imagetest.Blobs{}, &prefetching{Store: imagetest.NewStore()}
			root := b.Image("amd64", make([]byte, size))
			var m ocispec.Manifest
			if err := json.Unmarshal(b[root.Digest], &m); err != nil {
				t.Fatal(err)
			}
			m.Layers[0].Annotations = tc.annotations
			root = b.AddJSON(ocispec.MediaTypeImageManifest, m)
			c, err := resolver(s).Manifest(t.Context(), at(b.Layout(s.Store, nil, root)), "latest")
			if err != nil {
				t.Fatal(err)
			}
			readAll(t, c)
			if len(s.calls) != 1 || len(s.calls[0]) != 1+len(tc.want) {
				t.Fatalf("prefetched %v; want the config and %v", s.calls, tc.want)
			}
			for i, part := range s.calls[0][1:] {
				if part.From != tc.want[i][0] || part.To != tc.want[i][1] {
					t.Errorf("part %d is %d to %d; want %v", i, part.From, part.To, tc.want[i])
				}
			}
		})
	}
}

// firsts is a Source that notes what is read first.
type firsts struct {
	*imagetest.Store
	mu     sync.Mutex
	opened []image.First
}

func (s *firsts) Open(ctx context.Context, p image.Path) (image.File, error) {
	first, _ := image.FirstIn(ctx)
	s.mu.Lock()
	s.opened = append(s.opened, first)
	s.mu.Unlock()
	return s.Store.Open(ctx, p)
}

// of are those that are the first bytes of so many.
func (s *firsts) of(n int64) (all []image.First) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, first := range s.opened {
		if first.To-first.From == n {
			all = append(all, first)
		}
	}
	return all
}

// What is read first of a blob is said when the blob is opened, and for no
// manifest; in an archive it is counted from the beginning of that.
func TestOpeningABlobSaysWhatIsReadFirst(t *testing.T) {
	b, store := imagetest.Blobs{}, imagetest.NewStore()
	layer := bytes.Repeat([]byte("layer"), 1000)
	root := b.Image("amd64", layer)
	dgst := digest.FromBytes(layer)
	ctx := image.First{From: 100, To: 200}.In(t.Context())
	for name, at := range map[string]image.Path{"layout": at(b.Layout(store, nil, root)), "archive": at(store.AddFile(b.OCIArchive(root)))} {
		s := &firsts{Store: store}
		c, err := resolver(s).Blob(ctx, at, dgst)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		said := s.of(100)
		if len(said) != 1 || name == "layout" && said[0].From != 100 || name == "archive" && said[0].From <= 100 {
			t.Errorf("%s: opened for %v", name, said)
		}
	}
}
