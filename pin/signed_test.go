package pin_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

// bundled is a manifest with a bundle that refers to subject.
func bundled(b imagetest.Blobs, subject ocispec.Descriptor, bundle []byte) ocispec.Descriptor {
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: pin.BundleType, Subject: &subject,
		Config: b.Add(ocispec.MediaTypeEmptyJSON, []byte("{}")), Layers: []ocispec.Descriptor{b.Add(pin.BundleType, bundle)}}
	m.SchemaVersion = 2
	return b.AddJSON(ocispec.MediaTypeImageManifest, m)
}

// With policy.key, an image is kept and served if a key of the file has signed
// it or the index above it, and nothing is that somebody has put beside it.
func TestSignedPolicy(t *testing.T) {
	key, other := pin.NewTestKey(t), pin.NewTestKey(t)
	file := filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(file, key.Public(), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHost(pin.Options{Key: file})
	guard := h.Guard(h.images)
	type made struct {
		root cid.Cid
		img  ocispec.Descriptor
	}
	layout := func(index bool, by pin.TestKey, signed func(ocispec.Descriptor) digest.Digest, beside ...string) made {
		b := imagetest.Blobs{}
		img := b.Image("amd64", []byte("layer"), []byte(signed(ocispec.Descriptor{Digest: "x"})))
		if index {
			img = b.Index(img)
		}
		roots := []ocispec.Descriptor{imagetest.Tagged(img, "v1")}
		if dgst := signed(img); dgst != "" {
			roots = append(roots, bundled(b, img, by.Bundle(dgst)))
		}
		for _, tag := range beside {
			evil := b.Image("amd64", []byte("evil"))
			roots = append(roots, imagetest.Tagged(evil, tag))
		}
		return made{b.Layout(h.node, nil, roots...), img}
	}
	itself := func(d ocispec.Descriptor) digest.Digest { return d.Digest }
	for name, tc := range map[string]struct {
		made
		admitted bool
	}{
		"signed":              {layout(false, key, itself), true},
		"a signed index":      {layout(true, key, itself), true},
		"by another key":      {layout(false, other, itself), false},
		"for another digest":  {layout(false, key, func(ocispec.Descriptor) digest.Digest { return digest.FromString("x") }), false},
		"not signed":          {layout(false, key, func(ocispec.Descriptor) digest.Digest { return "" }), false},
		"beside a signed one": {layout(false, key, itself, "v2"), true},
	} {
		t.Run(name, func(t *testing.T) {
			p := image.Path{Root: tc.root}
			for what, err := range map[string]error{
				"by tag":    readAll(t, guard, p, "v1"),
				"by digest": readAll(t, guard, p, tc.img.Digest.String()),
			} {
				if tc.admitted != (err == nil) || err != nil && image.ClassOf(err) != image.Denied {
					t.Errorf("served %s: %v", what, err)
				}
			}
			if err := readAll(t, guard, p, "v2"); err == nil {
				t.Error("what is beside it is served")
			}
			_, err := h.Add(t.Context(), pin.Request{Path: p, Ref: "v1"}, nil)
			if tc.admitted != (err == nil) || err != nil && image.ClassOf(err) != image.Denied {
				t.Errorf("kept: %v", err)
			}
		})
	}

	// The key changes, and with it what is signed.
	p := image.Path{Root: layout(false, other, itself).root}
	if err := os.WriteFile(file, append(other.Public(), key.Public()...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := readAll(t, guard, p, "v1"); err != nil {
		t.Errorf("with the other key: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := readAll(t, guard, p, "v1"); image.ClassOf(err) != image.Denied {
		t.Errorf("without a key: %v", err)
	}
}

// An image that refers to a signed one is not signed by that, nor is one in the
// place of its signatures.
func TestNobodySlipsInAnImage(t *testing.T) {
	key := pin.NewTestKey(t)
	file := filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(file, key.Public(), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHost(pin.Options{Key: file})
	b := imagetest.Blobs{}
	img := b.Image("amd64", []byte("layer"))
	evil := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Subject: &img,
		Config: b.Add(ocispec.MediaTypeImageConfig, []byte(`{"architecture":"amd64","os":"linux"}`)),
		Layers: []ocispec.Descriptor{b.Add(ocispec.MediaTypeImageLayer, []byte("evil")), b.Add(pin.BundleType, key.Bundle(img.Digest))}}
	evil.SchemaVersion = 2
	slipped := b.AddJSON(ocispec.MediaTypeImageManifest, evil)
	tag := "sha256-" + img.Digest.Encoded() + ".sig"
	root := b.Layout(h.node, nil, imagetest.Tagged(img, "v1"), bundled(b, img, key.Bundle(img.Digest)), imagetest.Tagged(slipped, tag))
	guard, p := h.Guard(h.images), image.Path{Root: root}
	if err := readAll(t, guard, p, "v1"); err != nil {
		t.Errorf("the image: %v", err)
	}
	for _, ref := range []string{tag, slipped.Digest.String()} {
		if err := readAll(t, guard, p, ref); image.ClassOf(err) != image.Denied {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if err := readBlob(t, guard, p, evil.Layers[0].Digest); image.ClassOf(err) != image.Denied {
		t.Errorf("its layer: %v", err)
	}
	if _, err := h.Add(t.Context(), pin.Request{Path: p}, nil); image.ClassOf(err) != image.Denied {
		t.Errorf("kept: %v", err)
	}
}
