package publish

import (
	"context"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Destination is where a pulled image goes. OpenDestination makes one; whoever
// opened it closes it, and a Close without a Finish before it leaves no half of
// an image under its name. Has and Put may be called side by side.
type Destination interface {
	// Wants says what the Destination can hold.
	Wants() Wants
	// Has reports whether the content is there already.
	Has(ctx context.Context, desc ocispec.Descriptor) (bool, error)
	// Put takes in the content of desc, reading r to its end; r fails when the
	// bytes are not those of desc, and then nothing of them is kept. What a
	// manifest names is put before the manifest.
	Put(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error
	// Finish names the image and makes it durable.
	Finish(ctx context.Context, image Pulled) error
	Close() error
}

// Wants says what a Destination can hold.
type Wants struct {
	// OneManifest: the image of one platform and no index.
	OneManifest bool
	// WholeIndex: no index of which platforms were left out.
	WholeIndex bool
	// Attached: what is attached to an image, such as signatures, too.
	Attached bool
}

// Pulled is an image whose content is in a Destination.
type Pulled struct {
	Root ocispec.Descriptor
	// Tag is the one that was pulled, empty when none was named.
	Tag string
	// Attached is what is attached to the image; one attached by its tag has it
	// as the annotation org.opencontainers.image.ref.name.
	Attached []ocispec.Descriptor
}

// DestinationOptions say how to reach destinations.
type DestinationOptions struct {
	// Insecure lets a registry be reached by TLS that nobody vouches for, or
	// by plain HTTP.
	Insecure bool
	// ContainerdAddress is containerd's socket, by default
	// /run/containerd/containerd.sock.
	ContainerdAddress string
	// Namespace is containerd's namespace, by default "default".
	Namespace string
}

const destinationForms = "oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF], containerd:REF or docker://REF"

// OpenDestination opens the destination that text means. The error is Malformed
// when text has none of the forms
//
//	oci:DIR[:TAG]
//	oci-archive:FILE[:TAG]
//	docker-archive:FILE[:REF]
//	containerd:REF
//	docker://REF
//
// A DIR or FILE ends at its first colon.
func OpenDestination(ctx context.Context, text string, o DestinationOptions) (Destination, error) {
	where, err := parseLocation(text)
	if err != nil {
		return nil, malformed("read the destination "+quote(text), err, "write "+destinationForms)
	}
	switch where.kind {
	case kindLayout:
		return newLayoutDestination(where)
	case kindLayoutArchive:
		return newArchiveDestination(where)
	case kindDockerArchive:
		return newDockerDestination(where)
	case kindContainerd:
		return newContainerdDestination(ctx, where, o)
	case kindRegistry:
		return newRegistryDestination(ctx, where, o)
	default:
		return nil, malformed("read the destination "+quote(text), errReadOnly, "write "+destinationForms)
	}
}
