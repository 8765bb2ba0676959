package publish_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// sink is a Sink in memory. A file that fails while it is read leaves nothing,
// and what is published has to be there.
type sink struct {
	store *imagetest.Store

	mu    sync.Mutex
	added int
	pins  map[string][]cid.Cid // the root and the parts by name
}

func newSink() *sink { return &sink{store: imagetest.NewStore(), pins: map[string][]cid.Cid{}} }

func (s *sink) AddFile(_ context.Context, r io.Reader, _ publish.Chunker) (cid.Cid, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return cid.Undef, errors.New("lost: " + err.Error()) // as a remote node loses the class
	}
	s.mu.Lock()
	s.added++
	s.mu.Unlock()
	return s.store.AddFile(data), nil
}

func (s *sink) AddDir(_ context.Context, entries map[string]cid.Cid, _ publish.Chunker) (cid.Cid, error) {
	return s.store.AddDir(entries), nil
}

func (s *sink) Publish(ctx context.Context, name string, root cid.Cid, parts []cid.Cid) error {
	for _, c := range append([]cid.Cid{root}, parts...) {
		_, err := s.store.Open(ctx, image.Path{Root: c})
		if other := (*image.NotFileError)(nil); err != nil && !errors.As(err, &other) {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pins[name] = append([]cid.Cid{root}, parts...)
	return nil
}

// resolver asks about what is in the sink.
func (s *sink) resolver() *image.Resolver {
	return image.NewResolver(s.store, dssync.MutexWrap(datastore.NewMapDatastore()), image.ResolverOptions{})
}

func open(t *testing.T, text string, o publish.SourceOptions) publish.Source {
	t.Helper()
	src, err := publish.OpenSource(t.Context(), text, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
	return src
}

func push(t *testing.T, text string, o publish.PushOptions) (publish.Result, *sink) {
	t.Helper()
	s := newSink()
	result, err := publish.Push(t.Context(), open(t, text, publish.SourceOptions{}), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return result, s
}

// wantClass checks that err has a class and says all of words.
func wantClass(t *testing.T, err error, class image.Class, words ...string) {
	t.Helper()
	if image.ClassOf(err) != class {
		t.Fatalf("error of class %d: %v; want class %d", image.ClassOf(err), err, class)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
}

// wantServed checks that the image at root is served with exactly the bytes of
// the blobs that are not left out.
func wantServed(t *testing.T, s *sink, root cid.Cid, desc ocispec.Descriptor, blobs imagetest.Blobs, leftOut ...digest.Digest) {
	t.Helper()
	images, p := s.resolver(), image.Path{Root: root}
	m, err := images.Manifest(t.Context(), p, "latest")
	if err != nil {
		t.Fatal(err)
	}
	if m.Descriptor.Digest != desc.Digest || m.Descriptor.MediaType != desc.MediaType {
		t.Fatalf("served %s %s; want %s %s", m.Descriptor.MediaType, m.Descriptor.Digest, desc.MediaType, desc.Digest)
	}
	for dgst, want := range blobs {
		c, err := images.Blob(t.Context(), p, dgst)
		if slices.Contains(leftOut, dgst) {
			wantClass(t, err, image.NotFound)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: read %d bytes, %v; want %d", dgst, len(got), err, len(want))
		}
	}
}

// docker is an image of Docker's schema 2.
func docker(b imagetest.Blobs) ocispec.Descriptor {
	layer := b.Add("application/vnd.docker.image.rootfs.diff.tar.gzip", []byte("a layer of Docker's"))
	config := b.AddJSON("application/vnd.docker.container.image.v1+json", map[string]any{"os": "linux", "architecture": "amd64",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest.FromString("x").String()}}})
	return b.AddJSON("application/vnd.docker.distribution.manifest.v2+json", map[string]any{"schemaVersion": 2,
		"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "config": config, "layers": []any{layer}})
}

// dockerIndex is a manifest list of Docker's.
func dockerIndex(b imagetest.Blobs) ocispec.Descriptor {
	return b.AddJSON("application/vnd.docker.distribution.manifest.list.v2+json", map[string]any{"schemaVersion": 2,
		"mediaType": "application/vnd.docker.distribution.manifest.list.v2+json", "manifests": []any{forPlatform(docker(b), "amd64")}})
}

func forPlatform(desc ocispec.Descriptor, arch string) ocispec.Descriptor {
	desc.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
	return desc
}

// multi is an index of two platforms that share a layer.
func multi(b imagetest.Blobs) (index, amd64, arm64 ocispec.Descriptor) {
	amd64 = b.Image("amd64", []byte("shared"), []byte("only of amd64"))
	arm64 = b.Image("arm64", []byte("shared"), []byte("only of arm64"))
	return b.Index(forPlatform(amd64, "amd64"), forPlatform(arm64, "arm64")), amd64, arm64
}

// ownBlobs are those that only this manifest names.
func ownBlobs(b imagetest.Blobs, desc ocispec.Descriptor) []digest.Digest {
	own := []digest.Digest{desc.Digest}
	for _, child := range children(b, desc) {
		if string(b[child.Digest]) != "shared" {
			own = append(own, child.Digest)
		}
	}
	return own
}

func children(b imagetest.Blobs, desc ocispec.Descriptor) []ocispec.Descriptor {
	var doc struct {
		Config            *ocispec.Descriptor
		Layers, Manifests []ocispec.Descriptor
	}
	if !strings.Contains(desc.MediaType, "manifest") && !strings.Contains(desc.MediaType, "index") {
		return nil
	}
	if err := json.Unmarshal(b[desc.Digest], &doc); err != nil {
		panic(err)
	}
	all := append(doc.Layers, doc.Manifests...)
	if doc.Config != nil {
		all = append(all, *doc.Config)
	}
	return all
}

// layoutFiles are the files of an OCI image layout.
func layoutFiles(b imagetest.Blobs, roots ...ocispec.Descriptor) map[string][]byte {
	files := map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json": imagetest.JSON(map[string]any{"schemaVersion": 2, "manifests": roots}),
	}
	for dgst, data := range b {
		files["blobs/"+dgst.Algorithm().String()+"/"+dgst.Encoded()] = data
	}
	return files
}

// layoutDir writes a layout to a new directory.
func layoutDir(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// file is an entry of an archive.
type file struct {
	tar.Header
	data []byte
}

func regular(name string, data []byte) file { return file{tar.Header{Name: name}, data} }

func archiveOf(t *testing.T, files map[string][]byte) string {
	t.Helper()
	var all []file
	for _, name := range slices.Sorted(maps.Keys(files)) {
		all = append(all, regular(name, files[name]))
	}
	return writeArchive(t, all...)
}

func writeArchive(t *testing.T, files ...file) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(name, tarBytes(t, files...), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func tarBytes(t *testing.T, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		f.Header.Size, f.Header.Mode = int64(len(f.data)), 0o644
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// newRegistry runs a registry and returns its host.
func newRegistry(t *testing.T, o ...registry.Option) string {
	t.Helper()
	server := httptest.NewServer(registry.New(append(o, registry.Logger(log.New(io.Discard, "", 0)))...))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// seed puts what is below desc into a repository, and a tag when there is one.
func seed(t *testing.T, name string, b imagetest.Blobs, desc ocispec.Descriptor, tag string) {
	t.Helper()
	repo, err := remote.NewRepository(name)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	seedBelow(t, repo, b, desc)
	if tag != "" {
		if err := repo.Tag(t.Context(), desc, tag); err != nil {
			t.Fatal(err)
		}
	}
}

func seedBelow(t *testing.T, repo *remote.Repository, b imagetest.Blobs, desc ocispec.Descriptor) {
	t.Helper()
	for _, child := range children(b, desc) {
		seedBelow(t, repo, b, child)
	}
	if err := repo.Push(t.Context(), desc, bytes.NewReader(b[desc.Digest])); err != nil {
		t.Fatal(err)
	}
}

// refTo is a reference to what was pushed.
func refTo(r publish.Result) image.Reference {
	return image.Reference{Path: image.Path{Root: r.Root}}
}
