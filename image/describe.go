package image

import (
	"context"
	"encoding/json"
	"math"
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Description is what a reference is.
type Description struct {
	Root cid.Cid
	// Form is the on-IPFS form, in words.
	Form string
	// Descriptor has the media type, digest and size of what was named.
	Descriptor ocispec.Descriptor
	// Platforms are those of the image, none for what is no image.
	Platforms []ocispec.Platform
	Tags      []string
	// Size is the sum in bytes of the distinct manifests and blobs below.
	Size int64
	// ConvertedFrom is the digest of the image whose layers were converted to
	// make this one, or "".
	ConvertedFrom digest.Digest
}

// AnnotationConvertedFrom is the annotation of a manifest or index that says of
// which one its layers were converted, by digest.
const AnnotationConvertedFrom = "io.github.ipfs-registry.converted-from"

// Describe resolves ref and reads the manifests below it, no layer.
func (r *Resolver) Describe(ctx context.Context, ref Reference) (*Description, error) {
	im, err := r.resolve(ctx, ref.Path)
	if err != nil {
		return nil, err
	}
	desc, err := im.choose(ctx, ref.Ref())
	if err != nil {
		return nil, err
	}
	doc, err := im.document(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	d := &Description{Root: ref.Path.Root, Form: im.form.name(), Descriptor: doc.desc, Tags: im.tags()}
	if from, err := digest.Parse(doc.manifest.Annotations[AnnotationConvertedFrom]); err == nil {
		d.ConvertedFrom = from
	}
	err = im.measure(ctx, doc, d, map[digest.Digest]bool{})
	return d, err
}

// measure adds the size and platforms of doc and of what is below it to d.
func (im *resolved) measure(ctx context.Context, doc *document, d *Description, seen map[digest.Digest]bool) error {
	if seen[doc.desc.Digest] {
		return nil
	}
	seen[doc.desc.Digest] = true
	d.Size += doc.desc.Size
	if !isIndex(doc.desc.MediaType) {
		return im.measureManifest(ctx, doc, d, seen)
	}
	for _, child := range doc.manifest.Manifests {
		below, err := im.document(ctx, child.Digest)
		if ClassOf(err) == NotFound {
			continue // a platform that was left out
		}
		if err != nil {
			return err
		}
		if err := im.measure(ctx, below, d, seen); err != nil {
			return err
		}
	}
	return nil
}

func (im *resolved) measureManifest(ctx context.Context, doc *document, d *Description, seen map[digest.Digest]bool) error {
	for _, blob := range doc.manifest.Children() {
		if !seen[blob.Digest] {
			seen[blob.Digest] = true
			d.Size = min(d.Size+blob.Size, math.MaxInt64/2) // which a document with enough lies would exceed
		}
	}
	config := doc.manifest.Config
	if config == nil || (config.MediaType != ocispec.MediaTypeImageConfig && config.MediaType != dockerConfig) {
		return nil
	}
	platform, err := im.platform(ctx, config.Digest)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(d.Platforms, func(p ocispec.Platform) bool {
		return p.OS == platform.OS && p.Architecture == platform.Architecture && p.Variant == platform.Variant
	}) {
		d.Platforms = append(d.Platforms, platform)
	}
	return nil
}

// platform reads the platform that an image's config says it is for.
func (im *resolved) platform(ctx context.Context, config digest.Digest) (ocispec.Platform, error) {
	var img ocispec.Image
	c, err := im.blob(ctx, config)
	if err != nil {
		return img.Platform, err
	}
	defer c.Close()
	if c.Size() > MaxManifest {
		return img.Platform, im.fail(NotImage, config, errTooLarge)
	}
	if err := json.NewDecoder(c).Decode(&img); err != nil {
		return img.Platform, im.fail(NotImage, config, err)
	}
	return img.Platform, nil
}
