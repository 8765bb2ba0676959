package image_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

// counted counts how often anything is opened.
type counted struct {
	image.Source
	opened atomic.Int64
}

func (c *counted) Open(ctx context.Context, p image.Path) (image.File, error) {
	c.opened.Add(1)
	return c.Source.Open(ctx, p)
}

// What is attached to hundreds of manifests costs no more for each of them than to
// one: whoever made the image decides how many there are.
func TestClosureOfManyThatAreAttached(t *testing.T) {
	const images = 200
	s, b := imagetest.NewStore(), imagetest.Blobs{}
	var children, roots []ocispec.Descriptor
	for i := range images {
		img := b.Image("amd64", []byte(fmt.Sprint(i)))
		attestation := b.Image("unknown", []byte(fmt.Sprint("of ", i)))
		attestation.Annotations = map[string]string{"vnd.docker.reference.digest": img.Digest.String()}
		children = append(children, img, attestation)
		signature := b.Image("", []byte(fmt.Sprint("signed ", i)))
		roots = append(roots, imagetest.Tagged(signature, "sha256-"+img.Digest.Encoded()+".sig"))
	}
	root := b.Layout(s, nil, append(roots, imagetest.Tagged(b.Index(children...), "v1"))...)
	source := &counted{Source: s}
	c, err := resolver(source).Closure(t.Context(), at(root), image.Selection{Ref: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	if want := 3*images + 1; len(c.Manifests) != want {
		t.Errorf("%d manifests, want %d", len(c.Manifests), want)
	}
	if n := source.opened.Load(); n > 5*3*images {
		t.Errorf("%d files were opened for %d manifests", n, 3*images)
	}
}

// However many layers of however many bytes an image names, its size is not less
// than that of one of them.
func TestSizeOfAHostileClosure(t *testing.T) {
	const layers, size = 1 << 14, int64(1) << 50 // in sum 2^64
	s, b := imagetest.NewStore(), imagetest.Blobs{}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: b.Add("a/b", []byte("{}"))}
	for i := range layers {
		layer := b.Add("a/b", []byte(fmt.Sprint(i)))
		layer.Size = size
		m.Layers = append(m.Layers, layer)
	}
	root := b.Layout(s, nil, b.AddJSON(ocispec.MediaTypeImageManifest, m))
	c, err := resolver(s).Closure(t.Context(), at(root), image.Selection{})
	if err == nil && c.Size < size {
		t.Errorf("%d blobs have the size %d", len(c.Blobs), c.Size)
	}
}

// An image that was chosen takes along what is attached to it in each way, what is
// attached to that, and nothing that is attached to others.
func TestClosureTakesAttachmentsAlong(t *testing.T) {
	s, b := imagetest.NewStore(), imagetest.Blobs{}
	mine, other := b.Image("amd64", []byte("mine")), b.Image("arm64", []byte("other"))
	attest := func(of ocispec.Descriptor, text string) ocispec.Descriptor {
		desc := b.Image("unknown", []byte(text))
		desc.Annotations = map[string]string{"vnd.docker.reference.digest": of.Digest.String()}
		return desc
	}
	sign := func(of ocispec.Descriptor, suffix string) ocispec.Descriptor {
		return imagetest.Tagged(b.Image("", []byte(of.Digest.String()+suffix)), "sha256-"+of.Digest.Encoded()+suffix)
	}
	attested, forOther := attest(mine, "attested"), attest(other, "of the other")
	index := b.Index(mine, other, attested, forOther)
	referrer := b.Artifact(attested, "application/vnd.example.sbom", []byte("bill"))
	signed, bare := sign(mine, ".sig"), sign(mine, "")
	countersigned := sign(signed, ".sig")
	root := b.Layout(s, nil, imagetest.Tagged(index, "v1"), referrer, signed, bare, countersigned, sign(other, ".sig"))
	c, err := resolver(s).Closure(t.Context(), at(root), image.Selection{Ref: "v1", Platforms: []ocispec.Platform{{OS: "linux", Architecture: "amd64"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]ocispec.Descriptor{"image": mine, "index": index, "attestation": attested, "its referrer": referrer,
		"signature": signed, "tag without a suffix": bare, "signature of the signature": countersigned} {
		if !slices.Contains(c.Manifests, want.Digest) {
			t.Errorf("it lacks the %s", name)
		}
	}
	if len(c.Manifests) != 7 {
		t.Errorf("%d manifests, want 7", len(c.Manifests))
	}
}

// What is attached by a tag comes along of an image too that names more than are
// looked into.
func TestClosureOfOneOfThousands(t *testing.T) {
	s, b := imagetest.NewStore(), imagetest.Blobs{}
	var roots []ocispec.Descriptor
	for i := range image.MaxDescriptors {
		roots = append(roots, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 9})
	}
	img := b.Image("amd64", []byte("the last"))
	signature := imagetest.Tagged(b.Image("", []byte("signed")), image.AttachmentTag(img.Digest, ".sig"))
	root := b.Layout(s, nil, append(roots, signature, imagetest.Tagged(img, "v1"))...)
	c, err := resolver(s).Closure(t.Context(), at(root), image.Selection{Ref: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []digest.Digest{img.Digest, signature.Digest}; !slices.Equal(c.Manifests, want) {
		t.Errorf("it has %v, want %v", c.Manifests, want)
	}
}
