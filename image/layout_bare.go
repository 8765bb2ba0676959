package image

import (
	"errors"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// bareManifest is an OCI or Docker manifest or index as one file, with nothing
// above it. What it describes is where the ipfs:// URLs say, or is the raw
// block of its digest.
type bareManifest struct {
	at   Path
	desc ocispec.Descriptor
}

func (l *bareManifest) name() string                   { return "bare manifest" }
func (l *bareManifest) roots() []ocispec.Descriptor    { return []ocispec.Descriptor{l.desc} }
func (l *bareManifest) guess(digest.Digest) []location { return nil }

func (l *bareManifest) locate(desc ocispec.Descriptor) (location, error) {
	if desc.Digest == l.desc.Digest {
		return file(l.at), nil
	}
	return linked(desc)
}

// parseBare reads the manifest found at p.
func parseBare(p Path, data []byte) (form, error) {
	desc, err := describeManifest(data)
	if err != nil {
		return nil, err
	}
	return &bareManifest{at: p, desc: desc}, nil
}

// describeManifest returns the descriptor of a manifest or index that has none:
// its type is what its content says. A document that could be taken for both is
// refused (CVE-2021-41190).
func describeManifest(data []byte) (ocispec.Descriptor, error) {
	m, err := parseManifest(data)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data)), MediaType: m.mediaType(ocispec.Descriptor{})}
	below := m.Config != nil || m.Layers != nil || m.Blobs != nil
	switch {
	case below && m.Manifests != nil:
		return desc, errors.New("it could be taken for a manifest and for an index")
	case !IsManifest(desc.MediaType):
		return desc, errors.New("it says that it is " + shorten(desc.MediaType) + ", which is neither a manifest nor an index")
	case isIndex(desc.MediaType) == below:
		return desc, errors.New("it does not have what its media type " + desc.MediaType + " says")
	}
	return desc, nil
}
