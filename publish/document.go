package publish

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// maxHeld is how many bytes all the manifests of an image may have; they are
// held in memory.
const maxHeld = 64 << 20

// parseDocument reads what desc describes. A document that could be taken for
// both a manifest and an index is refused (CVE-2021-41190).
func parseDocument(data []byte, desc ocispec.Descriptor) (*image.Manifest, error) {
	d := &image.Manifest{}
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
