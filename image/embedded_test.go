package image_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

// openings is a source that notes what is opened.
type openings struct {
	image.Source
	mu    sync.Mutex
	paths []string
}

func (o *openings) Open(ctx context.Context, p image.Path) (image.File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paths = append(o.paths, p.Rest)
	return o.Source.Open(ctx, p)
}

func (o *openings) has(dgst digest.Digest) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Contains(o.paths, "blobs/sha256/"+dgst.Encoded())
}

func TestAManifestThatIsInTheIndexIsNotFetched(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	desc := b.Image("amd64", []byte("layer"))
	with := func(data []byte) image.Path {
		entry := desc
		entry.Data = data
		return at(b.Layout(s, nil, entry))
	}
	for name, tc := range map[string]struct {
		p       image.Path
		fetched bool
	}{
		"what it says":     {with(b[desc.Digest]), false},
		"another manifest": {with(b[b.Image("arm64").Digest]), true},
		"nothing":          {with(nil), true},
	} {
		t.Run(name, func(t *testing.T) {
			source := &openings{Source: s}
			if read := pull(t, resolver(source), tc.p, "latest"); read[0] != desc.Digest {
				t.Errorf("the manifest is %s; want %s", read[0], desc.Digest)
			}
			if fetched := source.has(desc.Digest); fetched != tc.fetched {
				t.Errorf("it was fetched: %v; want %v", fetched, tc.fetched)
			}
		})
	}
}

// What is kept is kept whole, for others who read no index.json.
func TestAManifestThatIsInTheIndexIsKept(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	one, other := b.Image("amd64", []byte("one")), b.Image("arm64", []byte("other"))
	one.Data = b[one.Digest]
	root := b.Layout(s, nil, imagetest.Tagged(one, "one"), imagetest.Tagged(other, "other"))
	found, err := resolver(s).Closure(t.Context(), at(root), image.Selection{Platforms: []ocispec.Platform{{OS: "linux", Architecture: "amd64"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := at(root).Join("blobs/sha256/" + one.Digest.Encoded())
	if !slices.Contains(found.Documents, want) {
		t.Errorf("kept are %v; want %s among them", found.Documents, want)
	}
}
