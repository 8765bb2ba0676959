package publish

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Images is what pulling asks. Errors are of the classes of [image.Error]. The
// caller closes what it is given.
type Images interface {
	// Manifest returns the manifest or index that ref, a tag or a digest, names.
	Manifest(ctx context.Context, p image.Path, ref string) (*image.Content, error)
	// Blob returns the blob of the image with the digest.
	Blob(ctx context.Context, p image.Path, dgst digest.Digest) (*image.Content, error)
	// Referrers returns the descriptors of the manifests whose subject is dgst.
	Referrers(ctx context.Context, p image.Path, dgst digest.Digest) ([]ocispec.Descriptor, error)
}

// PullOptions say what of an image is pulled.
type PullOptions struct {
	// Platforms are the ones to pull, by default all that the image names, or
	// for a destination that holds one that of this machine.
	Platforms []ocispec.Platform
	// Progress is told how the blobs move; nil for nobody.
	Progress Progress
}

// Pull copies the image that ref names to dest and returns the descriptor of
// what dest has then. That is the image's manifest or index, unless dest can
// hold only a part of it. What dest has already is not copied. A platform that
// is not there is an error, unless others were asked for. When Pull fails dest
// has no half of an image under its name.
func Pull(ctx context.Context, all Images, ref image.Reference, dest Destination, o PullOptions) (ocispec.Descriptor, error) {
	src, err := openImage(ctx, all, ref)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	p := &pull{transfer: newTransfer(src, o.Progress), dest: dest, wanted: o.Platforms}
	if dest.Wants().OneManifest && len(p.wanted) == 0 && images.IsIndexType(src.root.MediaType) {
		p.wanted = []ocispec.Platform{hostPlatform()}
	}
	root, s, err := p.survey(ctx, src.root)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	attached, err := p.attached(ctx, s)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := p.copy(ctx, s); err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := dest.Finish(ctx, Pulled{Root: root, Tag: ref.Tag, Attached: attached}); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("finish the pull of %s: %w", src.name, err)
	}
	return root, nil
}

// hostPlatform is the one whose containers this machine runs.
func hostPlatform() ocispec.Platform {
	p := platforms.DefaultSpec()
	p.OS, p.OSVersion, p.OSFeatures = "linux", "", nil
	return p
}

// pull is a Pull under way.
type pull struct {
	transfer *transfer
	dest     Destination
	wanted   []ocispec.Platform
}

// survey reads the image and cuts it down to what the destination can hold.
func (p *pull) survey(ctx context.Context, root ocispec.Descriptor) (ocispec.Descriptor, *survey, error) {
	s := newSurvey(p.transfer, p.wanted, false)
	if err := s.take(ctx, root); err != nil {
		if image.ClassOf(err) == image.NotFound && len(p.wanted) == 0 {
			err = notFound("pull "+p.transfer.src.Name(), err, "ask for the platforms that are there with --platform")
		}
		return root, nil, err
	}
	wants := p.dest.Wants()
	if !images.IsIndexType(root.MediaType) || !wants.OneManifest && !(wants.WholeIndex && len(s.unwanted) > 0) {
		return root, s, nil
	}
	leaves := s.leaves()
	if len(leaves) != 1 {
		return root, nil, malformed("pull "+p.transfer.src.Name(), fmt.Errorf("%d manifests are meant, and the destination holds one of them or the whole index", len(leaves)), "ask for one platform with --platform")
	}
	root = plain(leaves[0].desc)
	s = newSurvey(p.transfer, nil, false)
	return root, s, s.take(ctx, root)
}

func (p *pull) attached(ctx context.Context, s *survey) ([]ocispec.Descriptor, error) {
	if !p.dest.Wants().Attached {
		return nil, nil
	}
	return s.attach(ctx)
}

// copy puts blobs before the manifests that name them.
func (p *pull) copy(ctx context.Context, s *survey) error {
	var blobs []ocispec.Descriptor
	for _, desc := range s.blobs {
		there, err := p.dest.Has(ctx, desc)
		if err != nil {
			return err
		}
		if !there {
			blobs = append(blobs, desc)
		}
	}
	if err := p.transfer.all(ctx, blobs, p.dest.Put); err != nil {
		return err
	}
	for _, m := range s.manifests {
		if err := p.copyManifest(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (p *pull) copyManifest(ctx context.Context, m *manifest) error {
	if there, err := p.dest.Has(ctx, m.desc); there || err != nil {
		return err
	}
	return p.dest.Put(ctx, plain(m.desc), bytes.NewReader(m.data))
}

// imageSource is an image on IPFS.
type imageSource struct {
	identity
	images Images
	path   image.Path
}

func openImage(ctx context.Context, all Images, ref image.Reference) (*imageSource, error) {
	m, err := all.Manifest(ctx, ref.Path, ref.Ref())
	if err != nil {
		return nil, err
	}
	root := plain(m.Descriptor)
	return &imageSource{identity{ref.Path.String(), ref.Tag, root}, all, ref.Path}, m.Close()
}

// Has does not look: that would retrieve the content.
func (s *imageSource) Has(context.Context, ocispec.Descriptor) (bool, error) { return true, nil }

func (s *imageSource) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if image.IsManifest(desc.MediaType) {
		return s.images.Manifest(ctx, s.path, desc.Digest.String())
	}
	return s.images.Blob(ctx, s.path, desc.Digest)
}

func (s *imageSource) Referrers(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	found, err := s.images.Referrers(ctx, s.path, desc.Digest)
	if err != nil {
		return nil, err
	}
	for i := range found {
		found[i].Annotations = nil
	}
	for _, tag := range attachmentTags(desc.Digest) {
		m, err := s.images.Manifest(ctx, s.path, tag)
		if image.ClassOf(err) == image.NotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, tagged(m.Descriptor, tag))
		if err := m.Close(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (s *imageSource) Close() error { return nil }
