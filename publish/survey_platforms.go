package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// choose returns the entries of an index that are wanted and there.
func (s *survey) choose(ctx context.Context, index *manifest) ([]ocispec.Descriptor, error) {
	var kept []ocispec.Descriptor
	for _, entry := range index.document.Manifests {
		if !s.wants(entry) {
			s.unwanted = append(s.unwanted, entry)
			continue
		}
		there, err := s.isThere(ctx, entry)
		if err != nil {
			return nil, err
		}
		if !there {
			s.missing = append(s.missing, entry)
			continue
		}
		kept = append(kept, entry)
		if entry.Platform != nil {
			s.platforms = append(s.platforms, *entry.Platform)
		} else {
			s.unsaid = true
		}
	}
	return kept, nil
}

func (s *survey) wants(entry ocispec.Descriptor) bool {
	return len(s.wanted) == 0 || entry.Platform == nil || platforms.Any(s.wanted...).Match(*entry.Platform)
}

// isThere reports whether an entry of an index is there with all its blobs. To
// a strict survey everything is, and the lack of it is an error later.
func (s *survey) isThere(ctx context.Context, entry ocispec.Descriptor) (bool, error) {
	if !s.lenient {
		return true, nil
	}
	if !image.IsManifest(entry.MediaType) {
		return s.transfer.src.Has(ctx, entry)
	}
	m, err := s.document(ctx, entry)
	if image.ClassOf(err) == image.NotFound {
		return false, nil
	}
	if err != nil || images.IsIndexType(entry.MediaType) {
		return err == nil, err
	}
	for _, blob := range m.document.Children() {
		if ok, err := s.transfer.src.Has(ctx, blob); !ok {
			return false, err
		}
	}
	return true, nil
}

// checkPlatforms refuses an image of which a platform that was asked for, or all
// of them, is not there.
func (s *survey) checkPlatforms(ctx context.Context, root *manifest) error {
	if images.IsManifestType(root.desc.MediaType) && len(s.wanted) > 0 {
		return s.checkConfig(ctx, root)
	}
	for _, want := range s.wanted {
		if !s.unsaid && !slices.ContainsFunc(s.platforms, platforms.NewMatcher(want).Match) {
			return notFound(s.op(root.desc), fmt.Errorf("%s is not there; the image names %q", platforms.FormatAll(want), named(root)), "ask for a platform that it has")
		}
	}
	if len(s.leaves())+len(s.blobs) == 0 && len(root.document.Manifests) > 0 {
		return notFound(s.op(root.desc), fmt.Errorf("of its platforms %q none is there whole", named(root)), "get the image again with its content")
	}
	return nil
}

// named are the platforms that an index names.
func named(index *manifest) []string {
	var names []string
	for _, entry := range index.document.Manifests[:min(len(index.document.Manifests), 50)] {
		if entry.Platform != nil {
			names = append(names, platforms.FormatAll(*entry.Platform))
		}
	}
	return names
}

// checkConfig refuses an image for one platform when another is asked for.
func (s *survey) checkConfig(ctx context.Context, m *manifest) error {
	if m.document.Config == nil || !images.IsConfigType(m.document.Config.MediaType) {
		return nil
	}
	data, err := s.small(ctx, *m.document.Config)
	if err != nil {
		return err
	}
	var config ocispec.Image
	if err := json.Unmarshal(data, &config); err != nil {
		return s.refuse(*m.document.Config, fmt.Errorf("it is no image config: %w", err))
	}
	if !platforms.Any(s.wanted...).Match(config.Platform) {
		return notFound(s.op(m.desc), fmt.Errorf("it is for %s and for no platform that was asked for", platforms.FormatAll(config.Platform)), "ask for that one")
	}
	return nil
}
