package publish_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// shelve pushes an image in the static form, into what is at into.
func shelve(t *testing.T, s *sink, b imagetest.Blobs, name string, into cid.Cid, roots ...ocispec.Descriptor) publish.Result {
	t.Helper()
	o := publish.PushOptions{Format: "static", Name: name}
	if into.Defined() {
		o.Into = &publish.Base{Source: s.store, Root: into}
	}
	result, err := publish.Push(t.Context(), open(t, "oci:"+layoutDir(t, layoutFiles(b, roots...)), publish.SourceOptions{}), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// fileAt returns the content and the CID of a file.
func fileAt(t *testing.T, s *sink, root cid.Cid, name string) ([]byte, cid.Cid) {
	t.Helper()
	f, err := s.store.Open(t.Context(), image.Path{Root: root, Rest: name})
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data, f.CID()
}

func TestStaticIsALayoutAndARegistryOfTheSameFiles(t *testing.T) {
	b := imagetest.Blobs{}
	index, amd64, _ := multi(b)
	sig := b.Artifact(amd64, "text/sig", []byte("sig"))
	s := newSink()
	r := shelve(t, s, b, "team/app:v1", cid.Undef, index, sig)
	if r.Tag != "v1" || r.Repository != "team/app" || r.Descriptor.Digest != index.Digest {
		t.Errorf("%+v", r)
	}
	wantServed(t, s, r.Root, index, b)
	for dgst, want := range b {
		layoutData, c := fileAt(t, s, r.Root, "blobs/sha256/"+dgst.Encoded())
		dir := "blobs/"
		if json.Unmarshal(want, &struct{ SchemaVersion int }{}) == nil && bytes.Contains(want, []byte("schemaVersion")) {
			dir = "manifests/"
		}
		_, again := fileAt(t, s, r.Root, "v2/team/app/"+dir+dgst.String())
		if c != again || !bytes.Equal(layoutData, want) {
			t.Errorf("%s is %s in the layout and %s in the registry", dgst, c, again)
		}
	}
	// Every blob once, and five small files: no extra bytes.
	if want := len(b) + len([]string{"oci-layout", "index.json", "index.html", "tags/list"}); s.added != want {
		t.Errorf("%d files added; want %d", s.added, want)
	}
	if list, _ := fileAt(t, s, r.Root, "v2/team/app/tags/list"); string(list) != `{"name":"team/app","tags":["v1"]}` {
		t.Errorf("tags/list is %s", list)
	}
	fileAt(t, s, r.Root, "v2/index.html")
	images, p := s.resolver(), image.Path{Root: r.Root, Rest: "team/app"}
	m, err := images.Manifest(t.Context(), p, "v1")
	if err != nil || m.Descriptor.Digest != index.Digest {
		t.Errorf("as a registry: %+v, %v", m, err)
	}
	for dgst := range b {
		if _, err := images.Blob(t.Context(), p, dgst); err != nil {
			t.Error(err)
		}
	}
	if list, err := images.Referrers(t.Context(), image.Path{Root: r.Root}, amd64.Digest); err != nil || len(list) != 1 {
		t.Errorf("the referrers %v, %v; want the signature", list, err)
	}
}

func TestStaticDependsOnTheImagesOnly(t *testing.T) {
	s := newSink()
	one, two := imagetest.Blobs{}, imagetest.Blobs{}
	index, amd64, _ := multi(one)
	sig := one.Artifact(amd64, "text/sig", []byte("sig"))
	other := two.Image("amd64", []byte("shared"), []byte("another"))
	a := shelve(t, s, one, "app:v1", cid.Undef, index, sig)
	ab := shelve(t, s, two, "other", a.Root, other)
	ba := shelve(t, s, one, "app:v1", shelve(t, s, two, "other", cid.Undef, other).Root, index, sig)
	if ab.Root != ba.Root || ab.Root == a.Root {
		t.Errorf("%s and %s; want one registry whatever came first", ab.Root, ba.Root)
	}
	if again := shelve(t, s, one, "app:v1", ab.Root, index, sig); again.Root != ab.Root {
		t.Errorf("added again it is %s; want %s", again.Root, ab.Root)
	}
	images := s.resolver()
	for name, want := range map[string]ocispec.Descriptor{"app": index, "other": other} {
		p := image.Path{Root: ab.Root, Rest: name}
		m, err := images.Manifest(t.Context(), p, "latest")
		if err != nil || m.Descriptor.Digest != want.Digest {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	if list, err := images.Referrers(t.Context(), image.Path{Root: ab.Root}, amd64.Digest); err != nil || len(list) != 1 || list[0].Digest != sig.Digest {
		t.Errorf("the referrers %v, %v; want the signature", list, err)
	}
	if list, err := images.Referrers(t.Context(), image.Path{Root: ab.Root, Rest: "app"}, amd64.Digest); err != nil || len(list) != 1 {
		t.Errorf("the referrers in the repository %v, %v; want the signature", list, err)
	}
	if list, err := images.Referrers(t.Context(), image.Path{Root: ab.Root, Rest: "other"}, other.Digest); err != nil || len(list) != 0 {
		t.Errorf("the referrers in the other repository %v, %v; want none", list, err)
	}
	if tags, err := images.Tags(t.Context(), image.Path{Root: ab.Root, Rest: "other"}); err != nil || !slices.Equal(tags, []string{"latest"}) {
		t.Errorf("the other repository has the tags %v, %v", tags, err)
	}
	if tags, err := images.Tags(t.Context(), image.Path{Root: ab.Root}); err != nil || !slices.Equal(tags, []string{"latest", "v1"}) {
		t.Errorf("as a layout it has the tags %v, %v", tags, err)
	}
	// A name that is taken goes to the new image, and the old one goes.
	replaced := shelve(t, s, two, "app:v1", ab.Root, other)
	if _, err := images.Manifest(t.Context(), image.Path{Root: replaced.Root, Rest: "app"}, index.Digest.String()); image.ClassOf(err) != image.NotFound {
		t.Errorf("what was replaced gave %v", err)
	}
}

func TestStaticRefuses(t *testing.T) {
	s, b := newSink(), imagetest.Blobs{}
	img := b.Image("amd64", []byte("one"))
	src := open(t, "oci:"+layoutDir(t, layoutFiles(b, img)), publish.SourceOptions{})
	layout, err := publish.Push(t.Context(), src, s, publish.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tagged := shelveLayout(t, s, b, imagetest.Tagged(img, "v1"))
	into := func(c cid.Cid) *publish.Base { return &publish.Base{Source: s.store, Root: c} }
	for name, test := range map[string]struct {
		o     publish.PushOptions
		class image.Class
		word  string
	}{
		"no name":             {publish.PushOptions{Format: "static"}, image.Malformed, "REPOSITORY[:TAG]"},
		"a name that is none": {publish.PushOptions{Format: "static", Name: "../x:v1"}, image.Malformed, "REPOSITORY[:TAG]"},
		"a tag that is none":  {publish.PushOptions{Format: "static", Name: "x:"}, image.Malformed, "REPOSITORY[:TAG]"},
		"a long name":         {publish.PushOptions{Format: "static", Name: strings.Repeat("x", 200)}, image.Malformed, "REPOSITORY[:TAG]"},
		"another format":      {publish.PushOptions{Into: into(layout.Root)}, image.Malformed, "the format static"},
		"a layout, untagged":  {publish.PushOptions{Format: "static", Name: "x", Into: into(layout.Root)}, image.NotImage, "has no name"},
		"a layout":            {publish.PushOptions{Format: "static", Name: "x", Into: into(tagged)}, image.NotImage, "push --format static"},
		"a file":              {publish.PushOptions{Format: "static", Name: "x", Into: into(s.store.AddFile([]byte("x")))}, image.NotImage, "oci-layout"},
	} {
		_, err := publish.Push(t.Context(), src, s, test.o)
		t.Run(name, func(t *testing.T) { wantClass(t, err, test.class, test.word) })
	}
}

func shelveLayout(t *testing.T, s *sink, b imagetest.Blobs, root ocispec.Descriptor) cid.Cid {
	t.Helper()
	return b.Layout(s.store, nil, root)
}

func TestPushLayer(t *testing.T) {
	plain := tarBytes(t, regular("foo", []byte("hello")))
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write(plain)
	w.Close()
	for name, test := range map[string]struct {
		data      []byte
		mediaType string
	}{"foo-0.1.0.tar": {plain, ocispec.MediaTypeImageLayer}, "foo-0.1.0.tar.gz": {zipped.Bytes(), ocispec.MediaTypeImageLayerGzip}} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(file, test.data, 0o600); err != nil {
				t.Fatal(err)
			}
			s := newSink()
			r, err := publish.PushLayer(t.Context(), file, s, publish.PushOptions{Name: "mine"})
			if err != nil || r.Tag != name || r.Descriptor.MediaType != test.mediaType || len(s.pins["mine"]) != 2 {
				t.Fatalf("%+v, %v, pins %v", r, err, s.pins)
			}
			m, err := s.resolver().Manifest(t.Context(), image.Path{Root: r.Root}, name)
			if err != nil {
				t.Fatal(err)
			}
			var doc ocispec.Manifest
			if err := json.NewDecoder(m).Decode(&doc); err != nil || len(doc.Layers) != 1 || doc.Layers[0].Digest != digest.FromBytes(test.data) {
				t.Fatalf("the manifest %+v, %v", doc, err)
			}
			c, err := s.resolver().Blob(t.Context(), image.Path{Root: r.Root}, doc.Config.Digest)
			if err != nil {
				t.Fatal(err)
			}
			var config ocispec.Image
			if err := json.NewDecoder(c).Decode(&config); err != nil || !slices.Equal(config.RootFS.DiffIDs, []digest.Digest{digest.FromBytes(plain)}) {
				t.Errorf("the config %+v, %v; want the digest of the unpacked layer", config, err)
			}
		})
	}
	for word, data := range map[string][]byte{"no tar file": []byte("hello"), "EOF": zipped.Bytes()[:zipped.Len()-4]} {
		file := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := publish.PushLayer(t.Context(), file, newSink(), publish.PushOptions{})
		wantClass(t, err, image.NotImage, word)
	}
	_, err := publish.PushLayer(t.Context(), filepath.Join(t.TempDir(), "none"), newSink(), publish.PushOptions{})
	wantClass(t, err, image.NotFound, "check the path")
}

// TestADockerArchiveHasOneManifest: pushed, or read where it lies on IPFS.
func TestADockerArchiveHasOneManifest(t *testing.T) {
	data := tarBytes(t, newSaved("one", "two").files()...)
	file := filepath.Join(t.TempDir(), "saved.tar")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	pushed, s := push(t, "docker-archive:"+file, publish.PushOptions{})
	m, err := s.resolver().Manifest(t.Context(), image.Path{Root: s.store.AddFile(data)}, "latest")
	if err != nil || m.Descriptor.Digest != pushed.Descriptor.Digest {
		t.Errorf("pushed as %s, read as %+v, %v", pushed.Descriptor.Digest, m, err)
	}
}
