package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// adder puts images into real blocks.
type adder struct {
	testing.TB
	c *content
}

func (a adder) AddFile(data []byte) cid.Cid {
	c, err := a.c.AddFile(a.Context(), bytes.NewReader(data), publish.UnixFSv1)
	if err != nil {
		a.Fatal(err)
	}
	return c
}

func (a adder) AddDir(entries map[string]cid.Cid) cid.Cid {
	c, err := a.c.AddDir(a.Context(), entries, publish.UnixFSv1)
	if err != nil {
		a.Fatal(err)
	}
	return c
}

func newResolver(c *content) *image.Resolver {
	return image.NewResolver(c, dssync.MutexWrap(datastore.NewMapDatastore()), image.ResolverOptions{})
}

// pullAll reads a manifest and all that is below it.
func pullAll(t *testing.T, r *image.Resolver, p image.Path, ref string) {
	t.Helper()
	m, err := r.Manifest(t.Context(), p, ref)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Manifests, Layers []ocispec.Descriptor
		Config            *ocispec.Descriptor
	}
	if err := json.NewDecoder(m).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	for _, child := range doc.Manifests {
		pullAll(t, r, p, child.Digest.String())
	}
	if doc.Config != nil {
		doc.Layers = append(doc.Layers, *doc.Config)
	}
	for _, desc := range doc.Layers {
		c, err := r.Blob(t.Context(), p, desc.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(c); err != nil || digest.FromBytes(data) != desc.Digest {
			t.Errorf("%s: %d bytes, %v", desc.Digest, len(data), err)
		}
		c.Close()
	}
}

var formLayer = bytes.Repeat([]byte("layer bytes "), 400_000)

func TestEveryFormOnBlocks(t *testing.T) {
	c := offlineContent(flatfsStore(t))
	for _, form := range imagetest.Forms(adder{t, c}, formLayer, []byte("small")) {
		t.Run(form.Title, func(t *testing.T) {
			r := newResolver(c)
			for range 2 { // the second time nothing is hashed
				pullAll(t, r, form.Path, form.Tag)
			}
		})
	}
}

// TestAnImageInAnEnormousDirectory: nobody lists it to find three names.
func TestAnImageInAnEnormousDirectory(t *testing.T) {
	s := memoryStore(t)
	c := offlineContent(s)
	a := adder{t, c}
	b := imagetest.Blobs{}
	img := b.Image("amd64", []byte("x"))
	entries := map[string]cid.Cid{
		"oci-layout": a.AddFile([]byte(`{"imageLayoutVersion":"1.0.0"}`)),
		"index.json": a.AddFile(imagetest.JSON(ocispec.Index{Manifests: []ocispec.Descriptor{img}})),
	}
	for dgst, data := range b {
		entries["blobs/sha256/"+dgst.Encoded()] = a.AddFile(data)
	}
	for i := range 100_000 {
		entries[fmt.Sprintf("blobs/sha256/%064x", i)] = entries["oci-layout"]
		entries[fmt.Sprint("entry", i)] = entries["oci-layout"]
	}
	root := a.AddDir(entries)
	before := s.reads()
	pullAll(t, newResolver(c), image.Path{Root: root}, "latest")
	if read := s.reads() - before; read > 100 {
		t.Errorf("%d blocks read; want those on the way", read)
	}
	delete(entries, "oci-layout")
	root = a.AddDir(entries)
	before = s.reads()
	_, err := newResolver(c).Manifest(t.Context(), image.Path{Root: root}, "latest")
	if read := s.reads() - before; read > 100 {
		t.Errorf("%d blocks read to say what is missing", read)
	}
	if image.ClassOf(err) != image.NotImage || !strings.Contains(err.Error(), "without its file oci-layout") {
		t.Errorf("%v; want to hear that oci-layout is absent", err)
	}
}

func TestWhatIsNoFormOnBlocks(t *testing.T) {
	c := offlineContent(memoryStore(t))
	a := adder{t, c}
	b := imagetest.Blobs{}
	img := b.Image("amd64", []byte("x"))
	target, err := unixfs.SymlinkData("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	link := add(t, c, pbNode(t, target))
	marker := a.AddFile([]byte(`{"imageLayoutVersion":"1.0.0"}`))
	index := a.AddFile(imagetest.JSON(ocispec.Index{Manifests: []ocispec.Descriptor{img}}))
	for want, root := range map[string]cid.Cid{
		"it is a symlink":               link,
		"without the file index.json":   a.AddDir(map[string]cid.Cid{"oci-layout": marker, "index.json": link}),
		"says":                          a.AddDir(map[string]cid.Cid{"oci-layout": marker, "index.json": index, "blobs/sha256/" + img.Digest.Encoded(): marker}),
		"is a symlink":                  a.AddDir(map[string]cid.Cid{"oci-layout": marker, "index.json": index, "blobs/sha256/" + img.Digest.Encoded(): link}),
		"dag-json":                      identity(t, cid.DagJSON, []byte(`{"schemaVersion":2}`)),
		"dag-cbor":                      identity(t, cid.DagCBOR, []byte{0xa0}),
		"a text file of 5 bytes":        identity(t, cid.Raw, []byte("hello")),
		"it is a tar archive of 1024 b": a.AddFile(append(append(make([]byte, 257), "ustar"...), make([]byte, 1024-262)...)),
	} {
		_, err := newResolver(c).Manifest(t.Context(), image.Path{Root: root}, "latest")
		if err == nil || image.ClassOf(err) == image.Unavailable || image.ClassOf(err) == 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	// An identity CID holds its bytes itself, here those of a manifest.
	bare := identity(t, cid.Raw, []byte(`{"mediaType":"`+ocispec.MediaTypeImageIndex+`","manifests":[]}`))
	if _, err := newResolver(c).Manifest(t.Context(), image.Path{Root: bare}, "latest"); err != nil {
		t.Error(err)
	}
}

// BenchmarkFirstManifest is a pull's first question, to a resolver that knows
// nothing yet; BenchmarkManifest is the same one asked again.
func BenchmarkFirstManifest(b *testing.B) { benchmarkForms(b, true) }
func BenchmarkManifest(b *testing.B)      { benchmarkForms(b, false) }

func benchmarkForms(b *testing.B, first bool) {
	c := offlineContent(flatfsStore(b))
	for _, form := range imagetest.Forms(adder{b, c}, formLayer, []byte("small")) {
		b.Run(form.Title, func(b *testing.B) {
			r := newResolver(c)
			for b.Loop() {
				if first {
					r = newResolver(c)
				}
				m, err := r.Manifest(b.Context(), form.Path, form.Tag)
				if err != nil {
					b.Fatal(err)
				}
				m.Close()
			}
		})
	}
}

// BenchmarkLayer is a layer that was verified before, as the registry sends it.
func BenchmarkLayer(b *testing.B) {
	c := offlineContent(flatfsStore(b))
	data := bytes.Repeat(formLayer, 20)
	for _, form := range imagetest.Forms(adder{b, c}, data) {
		b.Run(form.Title, func(b *testing.B) {
			r := newResolver(c)
			b.SetBytes(int64(len(data)))
			for i := 0; b.Loop(); i++ {
				blob, err := r.Blob(b.Context(), form.Path, digest.FromBytes(data))
				if err != nil {
					b.Fatal(err)
				}
				direct, ok := blob.File.(image.LimitedWriterTo)
				if !ok {
					b.Fatalf("%T has no cheap way", blob.File)
				}
				if _, err := direct.WriteNTo(io.Discard, blob.Size()); err != nil {
					b.Fatal(err)
				}
				blob.Close()
			}
		})
	}
}

// An image that can't be had is one failure, whichever of the files that are
// asked for along with its root are not there either.
func TestAnAbsentImageIsOneFailure(t *testing.T) {
	all, blobs := memoryStore(t), imagetest.Blobs{}
	desc := blobs.Image("amd64", []byte("x"))
	root := blobs.Layout(adder{t, offlineContent(all)}, nil, desc)
	manifest := "blobs/sha256/" + desc.Digest.Encoded()
	for _, missing := range [][]string{{""}, {ocispec.ImageLayoutFile}, {ocispec.ImageIndexFile}, {ocispec.ImageLayoutFile, ocispec.ImageIndexFile}, {manifest}} {
		here := without(t, all, root, missing)
		for how, c := range map[string]*content{"no answer": contentOn(here, newPeer(memoryStore(t)), 100*time.Millisecond), "offline": offlineContent(here)} {
			t.Run(fmt.Sprint(how, missing), func(t *testing.T) {
				if _, err := newResolver(c).Manifest(t.Context(), image.Path{Root: root}, "latest"); image.ClassOf(err) != image.Unavailable {
					t.Errorf("%v; want the class Unavailable", err)
				}
				followed := c.supply.follow(root)
				eventually(t, "all else that was asked for has ended", func() bool {
					followed.mu.Lock()
					defer followed.mu.Unlock()
					return followed.readers == 1
				})
				if got := c.unavailable.Load(); got != 1 {
					t.Errorf("%d failures are counted", got)
				}
			})
		}
	}
}

// without is a store without some of what is below root.
func without(t *testing.T, all *store, root cid.Cid, names []string) *store {
	t.Helper()
	here := copyOf(t, all)
	for _, name := range names {
		c := root
		if name != "" {
			f, err := offlineContent(all).Open(t.Context(), image.Path{Root: root, Rest: name})
			if err != nil {
				t.Fatal(err)
			}
			c = f.CID()
			_ = f.Close()
		}
		if err := here.DeleteBlock(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return here
}
