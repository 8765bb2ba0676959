package pin

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// signedWalk looks for what is signed of one image.
type signedWalk struct {
	*Signed
	path    image.Path
	trusted []verifyKey
	set     *signedSet
}

// all begins with what has a tag, but for what is attached by one.
func (w *signedWalk) all(ctx context.Context) error {
	tags, err := w.images.Tags(ctx, w.path)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if image.AttachedTo(tag) != "" {
			continue
		}
		c, err := w.images.Manifest(ctx, w.path, tag)
		if image.ClassOf(err) == image.NotFound {
			continue
		}
		if err != nil {
			return err
		}
		dgst := c.Descriptor.Digest
		_ = c.Close() // its digest is all
		if err := w.manifest(ctx, dgst, false); err != nil {
			return err
		}
	}
	return nil
}

// manifest takes in a manifest if it, or one above it, is signed, and looks at
// those below.
func (w *signedWalk) manifest(ctx context.Context, dgst digest.Digest, signed bool) error {
	if w.set.dgsts[dgst] || w.set.why[dgst] != nil && !signed {
		return nil
	}
	if !signed {
		why, err := w.signature(ctx, dgst)
		if err != nil {
			return err
		}
		if signed = why == nil; !signed {
			w.set.why[dgst] = why
		}
	}
	s, err := w.document(ctx, dgst.String())
	if err != nil {
		return err
	}
	if signed {
		w.set.dgsts[dgst] = true
		for _, desc := range s.below() {
			w.set.dgsts[desc.Digest] = true
		}
		if err := w.signatures(ctx, dgst); err != nil {
			return err
		}
	}
	for _, child := range s.Manifests {
		if err := w.manifest(ctx, child.Digest, signed); err != nil && image.ClassOf(err) != image.NotFound {
			return err
		}
	}
	return nil
}

// signatures takes in the signatures of a signed manifest, so that clients can
// look at them as well.
func (w *signedWalk) signatures(ctx context.Context, dgst digest.Digest) error {
	referrers, err := w.images.Referrers(ctx, w.path, dgst)
	if err != nil {
		return err
	}
	refs := []string{image.AttachmentTag(dgst, ".sig")}
	for _, desc := range referrers {
		refs = append(refs, desc.Digest.String())
	}
	for _, ref := range refs {
		c, err := w.images.Manifest(ctx, w.path, ref)
		if image.ClassOf(err) == image.NotFound {
			continue
		}
		if err != nil {
			return err
		}
		found := c.Descriptor.Digest
		_ = c.Close() // its digest is all
		s, err := w.document(ctx, found.String())
		if err != nil {
			return err
		}
		if !s.signs() {
			continue
		}
		w.set.dgsts[found] = true
		for _, desc := range s.below() {
			w.set.dgsts[desc.Digest] = true
		}
	}
	return nil
}

// signature looks for a signature of a manifest. why is nil when there is one
// by a trusted key.
func (w *signedWalk) signature(ctx context.Context, dgst digest.Digest) (why, err error) {
	why = errors.New("it has no signature")
	referrers, err := w.images.Referrers(ctx, w.path, dgst)
	if err != nil {
		return nil, err
	}
	left := maxSignatures
	for _, desc := range referrers {
		if !strings.HasPrefix(desc.ArtifactType, bundleType) {
			continue
		}
		if left--; left < 0 {
			break
		}
		if why, err = w.bundles(ctx, desc, dgst); why == nil || err != nil {
			return why, err
		}
	}
	s, err := w.document(ctx, image.AttachmentTag(dgst, ".sig"))
	if image.ClassOf(err) == image.NotFound {
		return why, nil
	}
	if err != nil {
		return nil, err
	}
	for _, desc := range s.Layers[:min(len(s.Layers), maxSignatures)] {
		if desc.MediaType != signedType {
			continue
		}
		payload, err := w.blob(ctx, desc)
		if err != nil {
			return nil, err
		}
		sig, err := base64.StdEncoding.DecodeString(desc.Annotations[signedAnnotation])
		if err == nil {
			err = checkPayload(w.trusted, payload, sig, dgst)
		}
		if why = refusal(err); why == nil {
			return nil, nil
		}
	}
	return why, nil
}

// bundles checks the bundles of a manifest that refers to dgst.
func (w *signedWalk) bundles(ctx context.Context, desc ocispec.Descriptor, dgst digest.Digest) (why, err error) {
	s, err := w.document(ctx, desc.Digest.String())
	if err != nil {
		return nil, err
	}
	why = errors.New("its signature has no bundle")
	for _, l := range s.Layers[:min(len(s.Layers), maxSignatures)] {
		if !strings.HasPrefix(l.MediaType, bundleType) {
			continue
		}
		data, err := w.blob(ctx, l)
		if err != nil {
			return nil, err
		}
		if why = refusal(checkBundle(w.trusted, data, dgst)); why == nil {
			break
		}
	}
	return why, nil
}

func refusal(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("its signature does not count: %w", err)
}

func (w *signedWalk) document(ctx context.Context, ref string) (*summary, error) {
	c, err := w.images.Manifest(ctx, w.path, ref)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return summarize(c)
}

// blob reads a small blob, which proves its digest.
func (w *signedWalk) blob(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	c, err := w.images.Blob(ctx, w.path, desc.Digest)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if c.Size() > maxSignature {
		return nil, &image.Error{Class: image.Denied, Op: "read the signature " + desc.Digest.String(),
			Err: fmt.Errorf("it has %d bytes, more than %d", c.Size(), maxSignature)}
	}
	return io.ReadAll(c)
}
