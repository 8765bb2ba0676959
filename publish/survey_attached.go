package publish

import (
	"cmp"
	"context"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// attach takes in what is attached to the manifests of the image and, in turn,
// to that, and returns its descriptors in an order of their own. What is not
// there whole is left out.
func (s *survey) attach(ctx context.Context) ([]ocispec.Descriptor, error) {
	var attached []ocispec.Descriptor
	for i := 0; i < len(s.manifests); i++ { // it grows
		found, err := s.transfer.src.Referrers(ctx, s.manifests[i].desc)
		if err != nil {
			return nil, err
		}
		for _, desc := range found {
			if s.isAttached(desc, attached) {
				continue
			}
			ok, err := s.takeAttached(ctx, desc)
			if err != nil {
				return nil, err
			}
			if ok {
				attached = append(attached, s.attachment(desc))
			}
		}
	}
	slices.SortFunc(attached, func(a, b ocispec.Descriptor) int {
		return cmp.Or(cmp.Compare(refName(a), refName(b)), cmp.Compare(a.Digest, b.Digest))
	})
	return attached, nil
}

// attachment describes what is attached by what it says of itself, and not by
// what the source says of it, which is not the same everywhere.
func (s *survey) attachment(desc ocispec.Descriptor) ocispec.Descriptor {
	entry := tagged(desc, refName(desc))
	if m, ok := s.read[desc.Digest]; ok && m.document.Subject != nil {
		entry.ArtifactType = m.document.ReferrerType()
	}
	return entry
}

func (s *survey) isAttached(desc ocispec.Descriptor, attached []ocispec.Descriptor) bool {
	return slices.ContainsFunc(attached, func(a ocispec.Descriptor) bool {
		return a.Digest == desc.Digest && refName(a) == refName(desc)
	})
}

// takeAttached takes in what is attached, when it is there whole.
func (s *survey) takeAttached(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	if ok, err := s.isThere(ctx, desc); !ok {
		return false, err
	}
	if err := s.note(desc); err != nil {
		return false, err
	}
	err := s.walk(ctx, desc, 1)
	if image.ClassOf(err) == image.NotFound {
		return false, nil
	}
	return err == nil, err
}
