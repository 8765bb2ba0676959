package registry

import (
	"context"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Images is what the registry asks. name is the path of the image on IPFS.
// Errors are of the classes of [image.Error]; any other is answered as 500.
// The caller closes what it is given.
type Images interface {
	// Manifest returns the manifest or index that ref, a tag or a digest, names.
	Manifest(ctx context.Context, name image.Path, ref string) (*image.Content, error)
	// Blob returns the blob of the image with the digest.
	Blob(ctx context.Context, name image.Path, dgst digest.Digest) (*image.Content, error)
	// Referrers returns the descriptors of the manifests whose subject is dgst.
	Referrers(ctx context.Context, name image.Path, dgst digest.Digest) ([]ocispec.Descriptor, error)
	// Knows reports whether the image is known to have the digest. It waits for
	// nothing: false means no more than that nobody has found it there yet.
	Knows(name image.Path, dgst digest.Digest) bool
	// Tags returns the tags of the image in ASCII order.
	Tags(ctx context.Context, name image.Path) ([]string, error)
}
