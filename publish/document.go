package publish

import (
	_ "crypto/sha512" // digests of the algorithms sha384 and sha512
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The bounds on an image. They are those within which package image serves it:
// what is published can be pulled.
const (
	// maxManifest is the size in bytes above which a manifest, an index or a
	// config that has to be read is refused. OCI distribution spec, "Pushing
	// Manifests".
	maxManifest = 4 << 20
	// maxDepth is how many indexes may stand one below the other.
	maxDepth = 8
	// maxDescriptors is how many distinct digests an image may name.
	maxDescriptors = 4096
	// maxHeld is how many bytes all the manifests of an image may have; they
	// are held in memory.
	maxHeld = 64 << 20
)

// mediaTypeArtifact is the manifest of an artifact of OCI 1.1's drafts; some
// registries still hold signatures in it.
const mediaTypeArtifact = "application/vnd.oci.artifact.manifest.v1+json"

// document has the fields of an image manifest and of an index that name other
// content.
type document struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Blobs        []ocispec.Descriptor `json:"blobs"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	Annotations  map[string]string    `json:"annotations"`
}

// parseDocument reads what desc describes. A document that could be taken for
// both a manifest and an index is refused (CVE-2021-41190).
func parseDocument(data []byte, desc ocispec.Descriptor) (*document, error) {
	d := &document{}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("it is no JSON manifest: %w", err)
	}
	if d.MediaType != "" && d.MediaType != desc.MediaType {
		return nil, fmt.Errorf("it says that it is %s and its descriptor says %s", quote(d.MediaType), quote(desc.MediaType))
	}
	below := d.Config != nil || d.Layers != nil || d.Blobs != nil
	if images.IsIndexType(desc.MediaType) && below {
		return nil, errors.New("it is an index that has a config or layers")
	}
	if !images.IsIndexType(desc.MediaType) && d.Manifests != nil {
		return nil, errors.New("it is a manifest that has manifests")
	}
	return d, nil
}

// children are the descriptors below, in the order of the document.
func (d *document) children() []ocispec.Descriptor {
	var all []ocispec.Descriptor
	if d.Config != nil {
		all = append(all, *d.Config)
	}
	all = append(all, d.Layers...)
	all = append(all, d.Blobs...)
	return append(all, d.Manifests...)
}

// artifactType is the type of a referrer. OCI distribution spec, "Listing
// Referrers".
func (d *document) artifactType() string {
	if d.ArtifactType == "" && d.Config != nil {
		return d.Config.MediaType
	}
	return d.ArtifactType
}

// isDocument reports whether content of the media type names other content.
func isDocument(mediaType string) bool {
	return images.IsIndexType(mediaType) || images.IsManifestType(mediaType) || mediaType == mediaTypeArtifact
}

// checkDescriptor refuses a descriptor that can't be true.
func checkDescriptor(desc ocispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return fmt.Errorf("the digest %s: %w", quote(desc.Digest.String()), err)
	}
	if desc.Size < 0 {
		return fmt.Errorf("%s has the size %d", desc.Digest, desc.Size)
	}
	return nil
}

// plain is desc without what depends on where it was found, so that the same
// image is described by the same bytes everywhere.
func plain(desc ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}
}
