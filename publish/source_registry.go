package publish

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// registrySource is an image in a registry.
type registrySource struct {
	identity
	repo *remote.Repository
}

func openRegistry(ctx context.Context, where location, o SourceOptions) (Source, error) {
	op := "find " + where.text
	named, err := normalize(where.ref)
	if err != nil {
		return nil, malformed(op, err, "")
	}
	repo, err := openRepository(ctx, named, o.Insecure)
	if err != nil {
		return nil, malformed(op, err, "")
	}
	s := &registrySource{identity{name: named.String(), tag: tagOf(named)}, repo}
	if s.root, err = repo.Resolve(ctx, wanted(named)); err != nil {
		return nil, registryError(op, err)
	}
	return s, nil
}

// wanted is the digest that a reference has, else its tag.
func wanted(named reference.Named) string {
	if digested, ok := named.(reference.Digested); ok {
		return digested.Digest().String()
	}
	return tagOf(named)
}

// Has does not ask: a registry keeps what its manifests name.
func (s *registrySource) Has(context.Context, ocispec.Descriptor) (bool, error) { return true, nil }

func (s *registrySource) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	// The artifact manifest is one to the registry, too.
	rc, err := s.repo.Fetch(ctx, desc)
	if err != nil {
		return nil, registryError("read "+desc.Digest.String()+" of "+s.name, err)
	}
	return rc, nil
}

// Referrers asks the referrers API, or the tag that stands in for it, and for
// the tags that cosign gives to signatures.
func (s *registrySource) Referrers(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	op := "list what is attached to " + desc.Digest.String() + " in " + s.name
	var found []ocispec.Descriptor
	err := s.repo.Referrers(ctx, desc, "", func(page []ocispec.Descriptor) error {
		found = append(found, page...)
		return nil
	})
	if err != nil && !isUnsupported(err) {
		return nil, registryError(op, err)
	}
	for _, tag := range attachmentTags(desc.Digest) {
		attached, err := s.repo.Resolve(ctx, tag)
		if errors.Is(err, errdef.ErrNotFound) || isUnsupported(err) {
			continue
		}
		if err != nil {
			return nil, registryError(op, err)
		}
		found = append(found, tagged(attached, tag))
	}
	return found, nil
}

func (s *registrySource) Close() error { return nil }

// isUnsupported reports whether a registry says that it has no such thing as
// referrers. What may pass, such as an overload, is no such answer.
func isUnsupported(err error) bool {
	var answer *errcode.ErrorResponse
	if !errors.As(err, &answer) {
		return false
	}
	return answer.StatusCode == http.StatusNotImplemented ||
		answer.StatusCode/100 == 4 && answer.StatusCode != http.StatusTooManyRequests
}

// attachmentTags are the tags by which cosign attaches signatures, attestations
// and bills of material to a digest.
func attachmentTags(dgst digest.Digest) []string {
	return []string{image.AttachmentTag(dgst, ".att"), image.AttachmentTag(dgst, ".sbom"), image.AttachmentTag(dgst, ".sig")}
}

// isAttachment reports whether an entry of a layout's index is attached to an
// image by its tag.
func isAttachment(desc ocispec.Descriptor) bool {
	return image.AttachedTo(refName(desc)) != ""
}
