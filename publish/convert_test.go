package publish_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"testing"
	"testing/iotest"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/containerd/stargz-snapshotter/estargz/zstdchunked"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
	"github.com/ipfs-registry/ipfs-registry/publish/lazy"
)

// system is an image of real layers, one of each kind of compression, and what
// the files in it have to say.
func system(t *testing.T, b imagetest.Blobs, docker bool) (ocispec.Descriptor, map[string]string) {
	t.Helper()
	said := map[string]string{"etc/one": "first\n", "bin/two": "second\n", "srv/three": "third\n"}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	types := map[string]string{"etc/one": ocispec.MediaTypeImageLayerGzip, "bin/two": ocispec.MediaTypeImageLayerZstd, "srv/three": ocispec.MediaTypeImageLayer}
	if docker {
		types = map[string]string{"etc/one": "application/vnd.docker.image.rootfs.diff.tar.gzip", "bin/two": "application/vnd.docker.image.rootfs.diff.tar.gzip", "srv/three": "application/vnd.docker.image.rootfs.diff.tar.gzip"}
		m.MediaType = "application/vnd.docker.distribution.manifest.v2+json"
	}
	for _, name := range []string{"etc/one", "bin/two", "srv/three"} {
		body := tarBytes(t, regular(name, []byte(said[name])))
		layer := b.Add(types[name], compressed(t, types[name], body))
		layer.Annotations = map[string]string{"org.example.kept": name, "containerd.io/uncompressed": "sha256:stale"}
		m.Layers = append(m.Layers, layer)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(body))
	}
	configType := ocispec.MediaTypeImageConfig
	if docker {
		configType = "application/vnd.docker.container.image.v1+json"
	}
	data := imagetest.JSON(config)
	data = bytes.Replace(data, []byte(`"os"`), []byte(`"container_config":{"Cmd":["not","in","OCI"]},"os"`), 1)
	m.Config = b.Add(configType, data)
	return b.AddJSON(m.MediaType, m), said
}

func compressed(t *testing.T, mediaType string, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	switch mediaType {
	case ocispec.MediaTypeImageLayerZstd:
		var err error
		if w, err = zstd.NewWriter(&buf); err != nil {
			t.Fatal(err)
		}
	case ocispec.MediaTypeImageLayer:
		return data
	default:
		w = gzip.NewWriter(&buf)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// read returns the content that a served image has at a digest.
func read(t *testing.T, s *sink, r publish.Result, dgst digest.Digest) []byte {
	t.Helper()
	c, err := s.resolver().Blob(t.Context(), image.Path{Root: r.Root}, dgst)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	data, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readManifest(t *testing.T, s *sink, r publish.Result, dgst digest.Digest) (m ocispec.Manifest) {
	t.Helper()
	c, err := s.resolver().Manifest(t.Context(), image.Path{Root: r.Root}, dgst.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := json.NewDecoder(c).Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// wantLazy checks a layer with the library that snapshotters read it with, and
// returns the content of its files.
func wantLazy(t *testing.T, data []byte, desc ocispec.Descriptor, diffID digest.Digest) map[string]string {
	t.Helper()
	r, err := estargz.Open(io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), estargz.WithDecompressors(&zstdchunked.Decompressor{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.VerifyTOC(digest.Digest(desc.Annotations[estargz.TOCJSONDigestAnnotation])); err != nil {
		t.Error(err)
	}
	var unpack io.Reader
	if desc.MediaType == ocispec.MediaTypeImageLayerGzip {
		unpack, err = gzip.NewReader(bytes.NewReader(data))
	} else {
		unpack, err = zstd.NewReader(bytes.NewReader(data))
	}
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(unpack)
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(body); got != diffID {
		t.Errorf("the tar has the digest %s and the config says %s", got, diffID)
	}
	if got := desc.Annotations[estargz.StoreUncompressedSizeAnnotation]; got != strconv.Itoa(len(body)) {
		t.Errorf("the annotation says %s bytes unpacked; it has %d", got, len(body))
	}
	said := map[string]string{}
	for entries := tar.NewReader(bytes.NewReader(body)); ; {
		h, err := entries.Next()
		if err == io.EOF {
			return said
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == estargz.TOCTarName || h.Name == estargz.NoPrefetchLandmark || h.Name == estargz.PrefetchLandmark {
			continue
		}
		f, err := r.OpenFile(h.Name)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		said[h.Name] = string(content)
	}
}

func TestPushConvertsTheLayersOfEverySourceAndForm(t *testing.T) {
	for _, docker := range []bool{false, true} {
		for _, format := range []lazy.Format{lazy.EStargz, lazy.ZstdChunked} {
			b := imagetest.Blobs{}
			root, said := system(t, b, docker)
			roots := map[string]digest.Digest{}
			for place, text := range places(t, b, root) {
				for _, form := range []string{"layout", "nerdctl", "static"} {
					result, s := push(t, text, publish.PushOptions{Lazy: format, Format: form, Name: "some/image:v1", TempDir: t.TempDir()})
					if result.ConvertedFrom.Digest != root.Digest || len(result.Left)+len(result.Missed)+len(result.Missing) > 0 {
						t.Errorf("%s as %s: %+v; want it converted from %s and no more to say", place, form, result, root.Digest)
					}
					if first, ok := roots[form]; ok && first != result.Descriptor.Digest {
						t.Errorf("%s as %s: %s; elsewhere it became %s", place, form, result.Descriptor.Digest, first)
					}
					if roots[form] != "" {
						continue
					}
					roots[form] = result.Descriptor.Digest
					if form == "static" {
						continue // the same files as a layout; its names have tests of their own
					}
					wantConverted(t, s, result, format, said)
				}
			}
			if roots["layout"] != roots["static"] {
				t.Errorf("the forms have other manifests: %v", roots)
			}
		}
	}
}

func wantConverted(t *testing.T, s *sink, r publish.Result, format lazy.Format, said map[string]string) {
	t.Helper()
	d, err := s.resolver().Describe(t.Context(), image.Reference{Path: image.Path{Root: r.Root}})
	if err != nil || d.ConvertedFrom != r.ConvertedFrom.Digest {
		t.Errorf("described as converted from %q, %v; want %s", d.ConvertedFrom, err, r.ConvertedFrom.Digest)
	}
	m := readManifest(t, s, r, r.Descriptor.Digest)
	if m.MediaType != ocispec.MediaTypeImageManifest || m.Config.MediaType != ocispec.MediaTypeImageConfig {
		t.Errorf("a manifest %s of %s; want OCI's", m.MediaType, m.Config.MediaType)
	}
	var config ocispec.Image
	data := read(t, s, r, m.Config.Digest)
	if err := json.Unmarshal(data, &config); err != nil || !bytes.Contains(data, []byte(`"container_config":{"Cmd":["not","in","OCI"]}`)) {
		t.Errorf("the config lost what nobody understands: %s, %v", data, err)
	}
	got := map[string]string{}
	for i, desc := range m.Layers {
		if desc.MediaType != format.MediaType() || desc.Annotations["org.example.kept"] == "" || desc.Annotations["containerd.io/uncompressed"] != "" {
			t.Errorf("a layer %s with the annotations %v", desc.MediaType, desc.Annotations)
		}
		maps.Copy(got, wantLazy(t, read(t, s, r, desc.Digest), desc, config.RootFS.DiffIDs[i]))
	}
	if !maps.Equal(got, said) {
		t.Errorf("the layers have %q; want %q", got, said)
	}
}

func TestPushLeavesWhatIsLazyAlready(t *testing.T) {
	for _, format := range []lazy.Format{lazy.EStargz, lazy.ZstdChunked} {
		b := imagetest.Blobs{}
		root, _ := system(t, b, false)
		host := newRegistry(t)
		first, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, root)), publish.PushOptions{Lazy: format})
		seedConverted(t, host+"/image", s, first)
		again, _ := push(t, "docker://"+host+"/image:latest", publish.PushOptions{Lazy: format})
		if again.Descriptor.Digest != first.Descriptor.Digest || again.ConvertedFrom.Digest != "" {
			t.Errorf("%s: converted again from %q to %s; want it as it was", format, again.ConvertedFrom.Digest, again.Descriptor.Digest)
		}
		other := map[lazy.Format]lazy.Format{lazy.EStargz: lazy.ZstdChunked, lazy.ZstdChunked: lazy.EStargz}[format]
		if changed, _ := push(t, "docker://"+host+"/image:latest", publish.PushOptions{Lazy: other}); changed.ConvertedFrom.Digest != first.Descriptor.Digest {
			t.Errorf("%s was not converted to %s", format, other)
		}
	}
}

// seedConverted puts what was pushed into a registry.
func seedConverted(t *testing.T, name string, s *sink, r publish.Result) {
	t.Helper()
	b := imagetest.Blobs{}
	m := readManifest(t, s, r, r.Descriptor.Digest)
	for _, desc := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		b[desc.Digest] = read(t, s, r, desc.Digest)
	}
	b[r.Descriptor.Digest] = imagetest.JSON(m)
	if digest.FromBytes(b[r.Descriptor.Digest]) != r.Descriptor.Digest { // its fields are in another order
		c, err := s.resolver().Manifest(t.Context(), image.Path{Root: r.Root}, r.Descriptor.Digest.String())
		if err != nil {
			t.Fatal(err)
		}
		if b[r.Descriptor.Digest], err = io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
	}
	seed(t, name, b, r.Descriptor, "latest")
}

func TestPushSaysWhatTheConversionLeavesBehind(t *testing.T) {
	b := imagetest.Blobs{}
	amd, _ := system(t, b, false)
	foreign := b.Image("arm64") // nothing to convert
	attestation := b.Artifact(amd, "application/vnd.in-toto+json", []byte("how it was built"))
	about := forPlatform(attestation, "unknown")
	about.Annotations = map[string]string{"vnd.docker.reference.digest": amd.Digest.String(), "vnd.docker.reference.type": "attestation-manifest"}
	index := b.Index(forPlatform(amd, "amd64"), forPlatform(foreign, "arm64"), about)
	signature, kept := b.Artifact(index, "a/signature", []byte("signed")), b.Artifact(foreign, "a/sbom", []byte("of arm64"))
	host := newRegistry(t, registry.WithReferrersSupport(true))
	seed(t, host+"/image", b, index, "v1")
	seed(t, host+"/image", b, signature, "")
	seed(t, host+"/image", b, kept, "")

	result, s := push(t, "docker://"+host+"/image:v1", publish.PushOptions{Lazy: lazy.EStargz})
	var left []digest.Digest
	for _, desc := range result.Left {
		left = append(left, desc.Digest)
	}
	if !slices.Contains(left, signature.Digest) || !slices.Contains(left, attestation.Digest) || slices.Contains(left, kept.Digest) || result.ConvertedFrom.Digest != index.Digest {
		t.Errorf("%+v; want %s and %s left, converted from %s", result, signature.Digest, attestation.Digest, index.Digest)
	}
	p := image.Path{Root: result.Root}
	c, err := s.resolver().Manifest(t.Context(), p, result.Descriptor.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	var now ocispec.Index
	if err := json.NewDecoder(c).Decode(&now); err != nil {
		t.Fatal(err)
	}
	if len(now.Manifests) != 2 || now.Manifests[0].Platform.Architecture != "amd64" || now.Manifests[1].Digest != foreign.Digest || now.Annotations[image.AnnotationConvertedFrom] != index.Digest.String() {
		t.Errorf("the index became %+v", now)
	}
	if found, err := s.resolver().Referrers(t.Context(), p, foreign.Digest); err != nil || len(found) != 1 {
		t.Errorf("about what was not converted there is %v, %v; want the SBOM", found, err)
	}
}

func TestPushConvertsOnlyLayers(t *testing.T) {
	b := imagetest.Blobs{}
	root := b.Image("amd64", []byte("x"))
	var m ocispec.Manifest
	if err := json.Unmarshal(b[root.Digest], &m); err != nil {
		t.Fatal(err)
	}
	m.Layers[0].MediaType = ocispec.MediaTypeImageLayerNonDistributableGzip //nolint:staticcheck // old images have it
	root = b.AddJSON(ocispec.MediaTypeImageManifest, m)
	artifact := b.Artifact(root, "a/model", tarBytes(t, regular("a", nil)))
	for _, desc := range []ocispec.Descriptor{root, artifact} {
		result, _ := push(t, "oci:"+layoutDir(t, layoutFiles(b, desc)), publish.PushOptions{Lazy: lazy.EStargz, First: []string{"/a"}})
		if result.Descriptor.Digest != desc.Digest || result.ConvertedFrom.Digest != "" || len(result.Missed) != 0 {
			t.Errorf("%+v; want %s as it was", result, desc.Digest)
		}
	}
}

func TestPushNamesTheLayerThatIsBroken(t *testing.T) {
	whole := compressed(t, ocispec.MediaTypeImageLayerGzip, tarBytes(t, regular("a", bytes.Repeat([]byte("0123456789"), 10_000))))
	for name, tc := range map[string]struct {
		mediaType string
		data      []byte
		says      string
	}{
		"gzip cut off":    {ocispec.MediaTypeImageLayerGzip, whole[:len(whole)/2], "it can't be unpacked"},
		"zstd cut off":    {ocispec.MediaTypeImageLayerZstd, compressed(t, ocispec.MediaTypeImageLayerZstd, whole)[:100], "it can't be unpacked"},
		"gzip of no tar":  {ocispec.MediaTypeImageLayerGzip, compressed(t, "gzip", bytes.Repeat([]byte("no tar. "), 200)), "it is no whole tar"},
		"a tar cut off":   {ocispec.MediaTypeImageLayer, tarBytes(t, regular("a", make([]byte, 4096)))[:1024], "it is no whole tar"},
		"an unknown type": {ocispec.MediaTypeImageLayer, tarBytes(t, file{tar.Header{Name: "odd", Typeflag: tar.TypeCont}, nil}), `its entry "odd"`},
	} {
		t.Run(name, func(t *testing.T) {
			b := imagetest.Blobs{}
			layer := b.Add(tc.mediaType, tc.data)
			config := b.AddJSON(ocispec.MediaTypeImageConfig, ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}}})
			root := b.AddJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer}})
			s := newSink()
			_, err := publish.Push(t.Context(), open(t, "oci:"+layoutDir(t, layoutFiles(b, root)), publish.SourceOptions{}), s, publish.PushOptions{Lazy: lazy.EStargz})
			wantClass(t, err, image.NotImage, layer.Digest.String(), tc.says)
			if len(s.pins) != 0 {
				t.Errorf("it was published all the same: %v", s.pins)
			}
		})
	}
	t.Run("a digest that lies", func(t *testing.T) {
		b := imagetest.Blobs{}
		root, _ := system(t, b, false)
		files := layoutFiles(b, root)
		for name, data := range files {
			if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
				files[name] = append(bytes.Clone(data[:len(data)-1]), data[len(data)-1]^1)
			}
		}
		_, err := publish.Push(t.Context(), open(t, "oci:"+layoutDir(t, files), publish.SourceOptions{}), newSink(), publish.PushOptions{Lazy: lazy.EStargz})
		wantClass(t, err, image.Corrupt, "its bytes have another digest")
	})
	t.Run("a config of other layers", func(t *testing.T) {
		b := imagetest.Blobs{}
		root := b.Image("amd64", tarBytes(t, regular("a", nil)))
		var m ocispec.Manifest
		if err := json.Unmarshal(b[root.Digest], &m); err != nil {
			t.Fatal(err)
		}
		m.Layers = append(m.Layers, m.Layers[0])
		root = b.AddJSON(ocispec.MediaTypeImageManifest, m)
		_, err := publish.Push(t.Context(), open(t, "oci:"+layoutDir(t, layoutFiles(b, root)), publish.SourceOptions{}), newSink(), publish.PushOptions{Lazy: lazy.EStargz})
		wantClass(t, err, image.NotImage, "it has 1 diff IDs and its manifest 2 layers")
	})
}

func TestPushLaysTheNamedFilesFirst(t *testing.T) {
	b := imagetest.Blobs{}
	body := tarBytes(t, regular("a", []byte("1")), regular("usr/b", []byte("2")), regular("c", []byte("3")))
	root := b.Image("amd64", body, tarBytes(t, regular("other", []byte("4"))))
	result, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, root)), publish.PushOptions{Lazy: lazy.EStargz, First: []string{"/c", "/usr/b", "/nowhere"}})
	if !slices.Equal(result.Missed, []string{"/nowhere"}) {
		t.Errorf("missed %q; want the one that is nowhere", result.Missed)
	}
	m := readManifest(t, s, result, result.Descriptor.Digest)
	for i, want := range [][]string{{"c", "usr/b", estargz.PrefetchLandmark, "a", estargz.TOCTarName}, {estargz.NoPrefetchLandmark, "other", estargz.TOCTarName}} {
		z, err := gzip.NewReader(bytes.NewReader(read(t, s, result, m.Layers[i].Digest)))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for entries := tar.NewReader(z); ; {
			h, err := entries.Next()
			if err != nil {
				break
			}
			got = append(got, h.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("layer %d has %q; want %q", i, got, want)
		}
	}
}

func TestReadPrioritized(t *testing.T) {
	got, err := publish.ReadPrioritized(bytes.NewReader([]byte("/bin/sh\n\n# a comment\n/bin/sh\n{\"path\":\"etc/passwd\",\"manifestDigest\":\"sha256:1\",\"layerIndex\":0}\n  usr/lib/x y  \n")))
	if want := []string{"/bin/sh", "etc/passwd", "usr/lib/x y"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for text, says := range map[string]string{"": "it names no file", "# nothing": "it names no file", "{": `the line "{"`} {
		if _, err := publish.ReadPrioritized(bytes.NewReader([]byte(text))); err == nil || !bytes.Contains([]byte(err.Error()), []byte(says)) {
			t.Errorf("%q: %v; want it to say %q", text, err, says)
		}
	}
	broken := errors.New("broken")
	if _, err := publish.ReadPrioritized(io.MultiReader(bytes.NewReader([]byte("/a\n")), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("%v; want what the reader says", err)
	}
}

func FuzzReadPrioritized(f *testing.F) {
	f.Add([]byte("/bin/sh\n{\"path\":\"etc\"}\n"))
	f.Add([]byte("{\"path\":1}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := publish.ReadPrioritized(bytes.NewReader(data))
		if (err == nil) != (len(all) > 0) {
			t.Errorf("%q with %v", all, err)
		}
	})
}
