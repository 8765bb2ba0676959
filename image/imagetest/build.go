package imagetest

import (
	"bytes"
	"encoding/json"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Blobs are the contents of an image by their digest.
type Blobs map[digest.Digest][]byte

// Add takes in data and returns its descriptor.
func (b Blobs) Add(mediaType string, data []byte) ocispec.Descriptor {
	dgst := digest.FromBytes(data)
	b[dgst] = data
	return ocispec.Descriptor{MediaType: mediaType, Digest: dgst, Size: int64(len(data))}
}

// AddJSON takes in v as JSON.
func (b Blobs) AddJSON(mediaType string, v any) ocispec.Descriptor {
	return b.Add(mediaType, JSON(v))
}

// JSON marshals what always marshals.
func JSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// Image adds an image for a platform whose layers are of the given bytes.
func (b Blobs) Image(arch string, layers ...[]byte) ocispec.Descriptor {
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: arch}, RootFS: ocispec.RootFS{Type: "layers"}}
	for _, data := range layers {
		m.Layers = append(m.Layers, b.Add(ocispec.MediaTypeImageLayer, data))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(data))
	}
	m.Config = b.AddJSON(ocispec.MediaTypeImageConfig, config)
	return b.AddJSON(ocispec.MediaTypeImageManifest, m)
}

// Index adds an index of manifests.
func (b Blobs) Index(manifests ...ocispec.Descriptor) ocispec.Descriptor {
	return b.AddJSON(ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests})
}

// Artifact adds a manifest that refers to subject.
func (b Blobs) Artifact(subject ocispec.Descriptor, artifactType string, data []byte) ocispec.Descriptor {
	return b.AddJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType, Subject: &subject,
		Config: b.Add(ocispec.MediaTypeEmptyJSON, []byte("{}")), Layers: []ocispec.Descriptor{b.Add("text/plain", data)},
		Annotations: map[string]string{"org.example.of": artifactType}})
}

// Tagged returns desc with a tag, as the index of a layout holds it.
func Tagged(desc ocispec.Descriptor, tag string) ocispec.Descriptor {
	desc.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	return desc
}

// Layout stores blobs and roots as an OCI image layout directory. The bytes of
// a digest in lies are stored in place of the true ones.
func (b Blobs) Layout(s Adder, lies Blobs, roots ...ocispec.Descriptor) cid.Cid {
	entries := map[string]cid.Cid{
		"oci-layout": s.AddFile([]byte(`{"imageLayoutVersion":"1.0.0"}`)),
		"index.json": s.AddFile(JSON(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: roots})),
	}
	for dgst, data := range b {
		if lie, ok := lies[dgst]; ok {
			data = lie
		}
		entries["blobs/"+dgst.Algorithm().String()+"/"+dgst.Encoded()] = s.AddFile(data)
	}
	return s.AddDir(entries)
}

// Nerdctl stores the image below root in the form of nerdctl, and returns the
// CID of its descriptor and the digests that its manifests have after their
// descriptors got their URLs.
func (b Blobs) Nerdctl(s Adder, root ocispec.Descriptor) (cid.Cid, ocispec.Descriptor) {
	desc := b.withURLs(s, root)
	return s.AddFile(JSON(desc)), desc
}

// withURLs stores desc and what is below it, lowest first.
func (b Blobs) withURLs(s Adder, desc ocispec.Descriptor) ocispec.Descriptor {
	data := b[desc.Digest]
	switch desc.MediaType {
	case ocispec.MediaTypeImageIndex:
		var index ocispec.Index
		mustDecode(data, &index)
		for i, child := range index.Manifests {
			index.Manifests[i] = b.withURLs(s, child)
		}
		data = JSON(index)
	case ocispec.MediaTypeImageManifest:
		var m ocispec.Manifest
		mustDecode(data, &m)
		m.Config = b.withURLs(s, m.Config)
		for i, layer := range m.Layers {
			m.Layers[i] = b.withURLs(s, layer)
		}
		data = JSON(m)
	}
	desc.Digest, desc.Size = digest.FromBytes(data), int64(len(data))
	desc.URLs = []string{"ipfs://" + s.AddFile(data).String()}
	return desc
}

func mustDecode(data []byte, v any) {
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(v); err != nil {
		panic(err)
	}
}
