package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// survey is an image whose manifests have been read and verified, so that it is
// known what is to move before anything does. It is used by one goroutine.
type survey struct {
	transfer *transfer
	// wanted are the platforms asked for, none for all. An index entry that
	// says no platform is always wanted, as it is to containerd.
	wanted []ocispec.Platform
	// lenient leaves out the platforms of an index that are not there. Without
	// it they are an error.
	lenient bool

	manifests []*manifest          // what an index names stands before the index
	blobs     []ocispec.Descriptor // each digest once
	// platforms are those of the entries that an index kept; some may say none.
	platforms []ocispec.Platform
	unsaid    bool
	// missing and unwanted are the index entries that were left out.
	missing, unwanted []ocispec.Descriptor

	known map[digest.Digest]int64 // the sizes
	read  map[digest.Digest]*manifest
	held  int
}

// manifest is a manifest or index that has been read.
type manifest struct {
	desc     ocispec.Descriptor
	data     []byte
	document *image.Manifest
	// kept are the descriptors below that belong to the surveyed image.
	kept []ocispec.Descriptor
	// walked says that it and what is below it is in the survey.
	walked bool
}

func newSurvey(t *transfer, wanted []ocispec.Platform, lenient bool) *survey {
	return &survey{transfer: t, wanted: wanted, lenient: lenient,
		known: map[digest.Digest]int64{}, read: map[digest.Digest]*manifest{}}
}

// take surveys the image below root.
func (s *survey) take(ctx context.Context, root ocispec.Descriptor) error {
	if err := s.note(root); err != nil {
		return err
	}
	if err := s.walk(ctx, root, 0); err != nil {
		return err
	}
	return s.checkPlatforms(ctx, s.read[root.Digest])
}

// walk takes in the manifest or index desc and what is below it. A cycle would
// need a digest that is part of what it is the digest of; walked ends it all
// the same.
func (s *survey) walk(ctx context.Context, desc ocispec.Descriptor, depth int) error {
	if depth > image.MaxDepth {
		return s.refuse(desc, fmt.Errorf("it is an index nested deeper than %d levels", image.MaxDepth))
	}
	m, err := s.document(ctx, desc)
	if err != nil || m.walked {
		return err
	}
	m.walked = true
	if m.kept = m.document.Children(); images.IsIndexType(desc.MediaType) {
		if m.kept, err = s.choose(ctx, m); err != nil {
			return err
		}
	}
	for _, child := range m.kept {
		if err := s.below(ctx, m, child, depth+1); err != nil {
			return err
		}
	}
	s.manifests = append(s.manifests, m)
	return nil
}

// below takes in a descriptor that m names.
func (s *survey) below(ctx context.Context, m *manifest, child ocispec.Descriptor, depth int) error {
	_, known := s.known[child.Digest]
	if err := s.note(child); err != nil {
		return err
	}
	if images.IsIndexType(m.desc.MediaType) && image.IsManifest(child.MediaType) {
		return s.walk(ctx, child, depth)
	}
	if !known {
		s.blobs = append(s.blobs, child)
	}
	return nil
}

// note counts a descriptor and refuses one that can't be true.
func (s *survey) note(desc ocispec.Descriptor) error {
	if err := checkDescriptor(desc); err != nil {
		return s.refuse(desc, err)
	}
	if size, ok := s.known[desc.Digest]; ok && size != desc.Size {
		return fail(image.Corrupt, s.op(desc), fmt.Errorf("one descriptor says that it has %d bytes and another %d", size, desc.Size), "")
	}
	s.known[desc.Digest] = desc.Size
	if len(s.known) > image.MaxDescriptors {
		return s.refuse(desc, fmt.Errorf("the image names more than %d digests", image.MaxDescriptors))
	}
	return nil
}

// document reads the manifest or index desc, once.
func (s *survey) document(ctx context.Context, desc ocispec.Descriptor) (*manifest, error) {
	if m, ok := s.read[desc.Digest]; ok && m.desc.MediaType == desc.MediaType {
		return m, nil
	}
	if !image.IsManifest(desc.MediaType) {
		return nil, s.refuse(desc, fmt.Errorf("%s is the media type of no image manifest or index that is known", quote(desc.MediaType)))
	}
	data, err := s.small(ctx, desc)
	if err != nil {
		return nil, err
	}
	if s.held += len(data); s.held > maxHeld {
		return nil, s.refuse(desc, fmt.Errorf("the manifests of the image have more than %d bytes", maxHeld))
	}
	d, err := parseDocument(data, desc)
	if err != nil {
		return nil, s.refuse(desc, err)
	}
	s.read[desc.Digest] = &manifest{desc: desc, data: data, document: d}
	return s.read[desc.Digest], nil
}

// small reads and verifies content that has to be held in memory.
func (s *survey) small(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if err := checkDescriptor(desc); err != nil {
		return nil, s.refuse(desc, err)
	}
	if desc.Size > image.MaxManifest {
		return nil, s.refuse(desc, fmt.Errorf("it has %d bytes; no manifest or config may have more than %d", desc.Size, image.MaxManifest))
	}
	rc, err := s.transfer.open(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(newVerified(ctx, rc, desc, s.transfer.src.Name(), func(int64) {}))
}

// leaves are the manifests that are no indexes.
func (s *survey) leaves() []*manifest {
	return slices.DeleteFunc(slices.Clone(s.manifests), func(m *manifest) bool { return images.IsIndexType(m.desc.MediaType) })
}

// size is the sum in bytes of what is to move.
func (s *survey) size() int64 {
	var sum int64
	for _, m := range s.manifests {
		sum += m.desc.Size
	}
	for _, desc := range s.blobs {
		sum += desc.Size
	}
	return sum
}

func (s *survey) op(desc ocispec.Descriptor) string {
	return fmt.Sprintf("read %s of %s", quote(desc.Digest.String()), s.transfer.src.Name())
}

// refuse is the error for what is no image that can be taken.
func (s *survey) refuse(desc ocispec.Descriptor, why error) error {
	if errors.Is(why, context.Canceled) {
		return why
	}
	return fail(image.NotImage, s.op(desc), why, "name an OCI image, or a Docker image of schema 2")
}

// refName is the tag that a descriptor of a layout's index has, or nothing.
func refName(desc ocispec.Descriptor) string { return desc.Annotations[ocispec.AnnotationRefName] }
