package image

import (
	_ "crypto/sha512" // digests of the algorithms sha384 and sha512
	"encoding/json"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxManifest is the size in bytes above which a manifest, an index or any
// other JSON document is refused, as the distribution spec suggests to
// registries ("Pushing Manifests").
const MaxManifest = 4 << 20

const (
	// maxSize is the size in bytes above which a descriptor is taken for a lie:
	// what MaxDescriptors of them have in all still is a number of 63 bits.
	maxSize = 1 << 50
	// maxMediaType is how many bytes a media type may have: RFC 6838, 4.2, says
	// 127 on each side of the slash. The table keeps one for each digest.
	maxMediaType = 255
)

// The media types of Docker's image manifest, version 2, schema 2.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// Manifest has the fields of an image manifest and of an index that matter for
// finding content: a document of either kind is read into it.
type Manifest struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Blobs        []ocispec.Descriptor `json:"blobs"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	Annotations  map[string]string    `json:"annotations"`
	FSLayers     json.RawMessage      `json:"fsLayers"` // schema 1
}

// errSchema1 refuses what Docker's tools have stopped to read as well.
var errSchema1 = errors.New("it is a Docker manifest of schema 1, which says neither the size nor the type of a layer and is not served; make the image anew as schema 2 or OCI")

func parseManifest(data []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("it is no JSON manifest: %w", err)
	}
	if m.FSLayers != nil {
		return nil, errSchema1
	}
	if m.Config == nil && m.Manifests == nil && m.Layers == nil && m.Blobs == nil {
		return nil, errors.New("it has neither config and layers nor manifests")
	}
	return m, m.check()
}

// check refuses a document that says of itself or of another what can't be true.
func (m *Manifest) check() error {
	all := m.Children()
	if m.Subject != nil {
		all = append(all, *m.Subject)
	}
	for _, d := range all {
		if err := checkDescriptor(d); err != nil {
			return err
		}
	}
	return checkTypes(m.MediaType, m.ArtifactType)
}

// Children are the descriptors below, blobs first and then manifests. The
// subject is none of them: it is above.
func (m *Manifest) Children() []ocispec.Descriptor { return append(m.blobs(), m.Manifests...) }

// blobs are the descriptors below that are no manifests.
func (m *Manifest) blobs() []ocispec.Descriptor {
	var all []ocispec.Descriptor
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	all = append(all, m.Layers...)
	return append(all, m.Blobs...)
}

// mediaType is what the document says of itself, else what its descriptor says.
func (m *Manifest) mediaType(desc ocispec.Descriptor) string {
	switch {
	case m.MediaType != "":
		return m.MediaType
	case desc.MediaType != "":
		return desc.MediaType
	case m.Manifests != nil:
		return ocispec.MediaTypeImageIndex
	default:
		return ocispec.MediaTypeImageManifest
	}
}

// ReferrerType is the type by which referrers are filtered: OCI distribution
// spec, "Listing Referrers".
func (m *Manifest) ReferrerType() string {
	if m.ArtifactType != "" || m.Config == nil {
		return m.ArtifactType
	}
	return m.Config.MediaType
}

func checkDescriptor(d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return fmt.Errorf("it names the digest %q: %w", shorten(d.Digest.String()), err)
	}
	if d.Size < 0 || d.Size > maxSize {
		return fmt.Errorf("it gives %s the size %d, which is not between 0 and %d", d.Digest, d.Size, int64(maxSize))
	}
	return checkTypes(d.MediaType, d.ArtifactType)
}

func checkTypes(types ...string) error {
	for _, t := range types {
		if len(t) > maxMediaType {
			return fmt.Errorf("it has the media type %q of %d bytes, and the longest there is has %d", shorten(t), len(t), maxMediaType)
		}
	}
	return nil
}

// IsManifest reports whether content of the media type can have children.
func IsManifest(mediaType string) bool {
	switch mediaType {
	case ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, dockerManifest, dockerIndex,
		"application/vnd.oci.artifact.manifest.v1+json":
		return true
	}
	return false
}

// isIndex reports whether the media type is of a list of manifests.
func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == dockerIndex
}

// annotationName is the whole name that containerd and Docker give an image in
// the index of a layout.
const annotationName = "io.containerd.image.name"

// tagOf is the tag that a descriptor of an OCI layout's index has, or "". Some
// writers put a whole image name there; then it is the tag of that name.
func tagOf(desc ocispec.Descriptor) string {
	name := desc.Annotations[ocispec.AnnotationRefName]
	if IsTag(name) {
		return name
	}
	if _, tag, ok := cutTag(name); ok && IsTag(tag) {
		return tag
	}
	return ""
}

// isAttachment reports whether a descriptor of a layout's index is of something
// attached to an image, such as a signature, and not of an image.
func isAttachment(desc ocispec.Descriptor) bool {
	return desc.ArtifactType != "" || AttachedTo(tagOf(desc)) != ""
}
