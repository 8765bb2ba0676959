package imagetest

import (
	"archive/tar"
	"bytes"
	"encoding/base32"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Form is an image in one of the forms that images have on IPFS, made by the
// rules of the tool that makes that form.
type Form struct {
	// Title is what the form is called in a Description.
	Title string
	// Path and Tag name the image.
	Path image.Path
	Tag  string
	// Root is the digest of its manifest or index; empty when it is made on
	// reading.
	Root digest.Digest
	// Keeps says that the digests are those of the image that it was made of.
	Keeps bool
}

// Forms stores an image of those layers, which are not compressed, in each form.
func Forms(s Adder, layers ...[]byte) []Form {
	b := Blobs{}
	img := b.Image("amd64", layers...)
	index := b.Index(img)
	nerdctl, rewritten := b.Nerdctl(s, index)
	bare, bareDigest := b.Bare(s, img)
	return []Form{
		{"OCI image layout", image.Path{Root: b.Layout(s, nil, Tagged(index, "v1"))}, "v1", index.Digest, true},
		{"nerdctl descriptor", image.Path{Root: nerdctl}, "latest", rewritten.Digest, false},
		{"bare manifest", image.Path{Root: bare}, "latest", bareDigest, false},
		{"OCI image layout in a tar archive", image.Path{Root: s.AddFile(b.OCIArchive(Tagged(index, "v1")))}, "v1", index.Digest, true},
		{"archive of docker save", image.Path{Root: s.AddFile(b.DockerArchive(img, "example.org/app:v1"))}, "v1", "", true},
		{"static registry", image.Path{Root: b.Static(s, "team/app", Tagged(img, "v1")), Rest: "team/app"}, "v1", img.Digest, true},
		{"IPDR directory", image.Path{Root: b.IPDR(s, img)}, "latest", img.Digest, true},
		{"ocipfs layer", image.Path{Root: Layer(s, "app-1.0.tar", layers[0], true)}, "app-1.0.tar", "", true},
	}
}

// Bare stores a manifest as a file. Its layers have ipfs:// URLs; its config has
// none and is found by its digest.
func (b Blobs) Bare(s Adder, desc ocispec.Descriptor) (cid.Cid, digest.Digest) {
	var m ocispec.Manifest
	mustDecode(b[desc.Digest], &m)
	s.AddFile(b[m.Config.Digest])
	for i, layer := range m.Layers {
		m.Layers[i].URLs = []string{"https://example.org/layer", "ipfs://" + s.AddFile(b[layer.Digest]).String()}
	}
	data := JSON(m)
	return s.AddFile(data), digest.FromBytes(data)
}

// Tar packs files in the order of their names.
func Tar(files map[string][]byte) []byte {
	var headers []tar.Header
	for _, name := range slices.Sorted(maps.Keys(files)) {
		headers = append(headers, tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))})
	}
	return TarOf(headers, files)
}

// TarOf packs entries; those that are files have their content in files.
func TarOf(headers []tar.Header, files map[string][]byte) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		must(w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := w.Write(files[h.Name])
			must(err)
		}
	}
	must(w.Close())
	return buf.Bytes()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// layoutFiles are the files of an OCI image layout.
func (b Blobs) layoutFiles(roots ...ocispec.Descriptor) map[string][]byte {
	files := map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json": JSON(map[string]any{"schemaVersion": 2, "manifests": roots}),
	}
	for dgst, data := range b {
		files["blobs/"+dgst.Algorithm().String()+"/"+dgst.Encoded()] = data
	}
	return files
}

// OCIArchive is a tar archive of an OCI image layout, as skopeo makes it.
func (b Blobs) OCIArchive(roots ...ocispec.Descriptor) []byte { return Tar(b.layoutFiles(roots...)) }

// DockerArchive is what "docker save" of engines before 25 makes of an image:
// layers by an identifier of their own, a layer that is there twice as a link.
func (b Blobs) DockerArchive(desc ocispec.Descriptor, names ...string) []byte {
	var m ocispec.Manifest
	mustDecode(b[desc.Digest], &m)
	config := m.Config.Digest.Encoded() + ".json"
	files := map[string][]byte{config: b[m.Config.Digest]}
	headers := []tar.Header{{Name: config, Size: m.Config.Size}}
	saved := map[string]any{"Config": config, "RepoTags": names}
	var layers []string
	for i, layer := range m.Layers {
		id := digest.FromString(string(rune('a' + i))).Encoded()
		name := id + "/layer.tar"
		headers = append(headers, tar.Header{Name: id + "/", Typeflag: tar.TypeDir}, tar.Header{Name: id + "/VERSION", Size: 3})
		files[id+"/VERSION"] = []byte("1.0")
		files[name] = b[layer.Digest]
		headers = append(headers, tar.Header{Name: name, Size: layer.Size})
		layers = append(layers, name)
	}
	saved["Layers"] = layers
	files["manifest.json"] = JSON([]any{saved})
	headers = append(headers, tar.Header{Name: "manifest.json", Size: int64(len(files["manifest.json"]))})
	return TarOf(headers, files)
}

// Static stores manifests with their tags as the one repository of a registry
// of files, as the script of ipfs-container-registry does.
func (b Blobs) Static(s Adder, name string, tagged ...ocispec.Descriptor) cid.Cid {
	entries := map[string]cid.Cid{"v2/index.html": s.AddFile(nil)}
	base := "v2/" + name
	var tags []string
	for _, desc := range tagged {
		tag := desc.Annotations[ocispec.AnnotationRefName]
		tags = append(tags, tag)
		entries[base+"/manifests/"+tag] = s.AddFile(b[desc.Digest])
	}
	for dgst, data := range b {
		dir := "/blobs/"
		if isDocument(data) {
			dir = "/manifests/"
		}
		entries[base+dir+dgst.String()] = s.AddFile(data)
	}
	entries[base+"/tags/list"] = s.AddFile(JSON(map[string]any{"name": name, "tags": tags}))
	return s.AddDir(entries)
}

func isDocument(data []byte) bool {
	var doc struct{ Layers, Manifests json.RawMessage }
	return json.Unmarshal(data, &doc) == nil && (doc.Layers != nil || doc.Manifests != nil)
}

// IPDR stores an image as IPDR does, with a manifest of schema 1 besides.
func (b Blobs) IPDR(s Adder, desc ocispec.Descriptor) cid.Cid {
	entries := map[string]cid.Cid{
		"manifests/latest":    s.AddFile([]byte(Schema1)),
		"manifests/latest-v2": s.AddFile(b[desc.Digest]),
	}
	var m ocispec.Manifest
	mustDecode(b[desc.Digest], &m)
	for _, blob := range append(m.Layers, m.Config) {
		entries["blobs/"+blob.Digest.String()] = s.AddFile(b[blob.Digest])
	}
	return s.AddDir(entries)
}

// Schema1 is a manifest of Docker's schema 1.
const Schema1 = `{"schemaVersion":1,"name":"app","tag":"latest","architecture":"amd64","fsLayers":[{"blobSum":"sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"}],"history":[{"v1Compatibility":"{}"}],"signatures":[]}`

// Layer stores a layer that is not compressed and its layer manifest as ocipfs
// reads it, with the digest of what it unpacks to, or without.
func Layer(s Adder, name string, data []byte, withDiffID bool) cid.Cid {
	dir := s.AddDir(map[string]cid.Cid{name: s.AddFile(data)})
	annotations := map[string]string{image.AnnotationLayerCID: dir.String() + "/" + name}
	if withDiffID {
		annotations[image.AnnotationLayerDiffID] = digest.FromBytes(data).String()
	}
	return s.AddFile(JSON(LayerManifest(ocispec.MediaTypeImageLayer, data, annotations)))
}

// LayerManifest is a layer manifest of ocipfs.
func LayerManifest(mediaType string, data []byte, annotations map[string]string) image.LayerManifest {
	return image.LayerManifest{MediaType: image.MediaTypeLayer, Layer: ocispec.Descriptor{
		MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data)), Annotations: annotations}}
}

// IPDRName is the name that IPDR prints for what it has made.
func IPDRName(c cid.Cid) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(c.Hash()))
}
