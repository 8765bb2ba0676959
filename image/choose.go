package image

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// tags lists what choose accepts, but for digests.
func (im *resolved) tags() []string {
	var tags []string
	if f, ok := im.form.(tagger); ok {
		tags = slices.Clone(f.tags())
	}
	for _, desc := range im.form.roots() {
		if tag := tagOf(desc); tag != "" {
			tags = append(tags, tag)
		}
	}
	if len(tags) == 0 {
		tags = []string{"latest"}
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// choose returns the descriptor that a tag or digest names.
func (im *resolved) choose(ctx context.Context, ref string) (ocispec.Descriptor, error) {
	if dgst, err := digest.Parse(ref); err == nil {
		return ocispec.Descriptor{Digest: dgst}, nil
	}
	desc, err := im.tagged(ctx, ref)
	if ClassOf(err) != NotFound || ref != "latest" {
		return desc, err
	}
	only, failed := im.only(ctx)
	if failed != nil {
		return desc, failed
	}
	if only == nil {
		return desc, err
	}
	return *only, nil
}

// tagged returns the descriptor that has the tag.
func (im *resolved) tagged(ctx context.Context, tag string) (desc ocispec.Descriptor, err error) {
	if f, ok := im.form.(tagger); ok {
		var at location
		if desc, at, err = f.find(ctx, tag); ClassOf(err) != NotFound {
			if err == nil {
				im.table.put(desc, place{mediaType: desc.MediaType, size: desc.Size, at: at})
			}
			return desc, err
		}
	}
	var found []ocispec.Descriptor
	for _, desc := range im.form.roots() {
		if tagOf(desc) == tag {
			found = append(found, desc)
		}
	}
	fail := func(why error, hint string) error {
		return &Error{Class: NotFound, Op: fmt.Sprintf("find the tag %q in the image at %s", tag, im.path), Err: why, Hint: hint}
	}
	switch found = distinct(found); {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return desc, fail(fmt.Errorf("several images have it: %s", names(found)), "ask for one of them by its digest")
	default:
		return desc, fail(fmt.Errorf("it has the tags %s", strings.Join(im.tags(), ", ")), "ask for one of them, or for a digest")
	}
}

// distinct leaves one descriptor of each digest.
func distinct(list []ocispec.Descriptor) []ocispec.Descriptor {
	seen := map[digest.Digest]bool{}
	return slices.DeleteFunc(list, func(desc ocispec.Descriptor) bool {
		again := seen[desc.Digest]
		seen[desc.Digest] = true
		return again
	})
}

// names are the names that images have, and their digests; at most ten.
func names(list []ocispec.Descriptor) string {
	var all []string
	for _, desc := range list[:min(len(list), 10)] {
		name := cmp.Or(desc.Annotations[annotationName], desc.Annotations[ocispec.AnnotationRefName])
		all = append(all, strings.TrimSpace(shorten(name)+" "+desc.Digest.String()))
	}
	return strings.Join(all, ", ")
}

// only returns the one image there is, nil when there are several or none.
// What is attached to an image is no image.
func (im *resolved) only(ctx context.Context) (*ocispec.Descriptor, error) {
	var images []ocispec.Descriptor
	if f, ok := im.form.(tagger); ok && len(f.tags()) == 1 {
		desc, err := im.tagged(ctx, f.tags()[0])
		return &desc, err
	}
	for _, desc := range im.form.roots() {
		if !isAttachment(desc) {
			images = append(images, desc)
		}
	}
	if images = distinct(images); len(images) > 1 {
		if err := im.readAll(ctx); err != nil {
			return nil, err
		}
		images = slices.DeleteFunc(images, func(d ocispec.Descriptor) bool { return im.hasSubject(ctx, d) })
	}
	if len(images) != 1 {
		return nil, nil
	}
	return &images[0], nil
}

func (im *resolved) hasSubject(ctx context.Context, desc ocispec.Descriptor) bool {
	doc, err := im.document(ctx, desc.Digest)
	return err == nil && doc.manifest.Subject != nil
}
