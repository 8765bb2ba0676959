package pin

import (
	"context"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Images answers questions about images, as *image.Resolver does. Whoever is
// given content closes it.
type Images interface {
	Manifest(ctx context.Context, p image.Path, ref string) (*image.Content, error)
	Blob(ctx context.Context, p image.Path, dgst digest.Digest) (*image.Content, error)
	Referrers(ctx context.Context, p image.Path, dgst digest.Digest) ([]ocispec.Descriptor, error)
	Tags(ctx context.Context, p image.Path) ([]string, error)
	Knows(p image.Path, dgst digest.Digest) bool
}
