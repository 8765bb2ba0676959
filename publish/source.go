package publish

import (
	"context"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Source is an image where it is. OpenSource makes one; whoever opened it
// closes it. Open and Has may be called side by side.
//
// What a Source hands out is not verified: that is done where it is read.
type Source interface {
	// Name is what people call the image there.
	Name() string
	// Tag is the tag that the image has there, empty when it has none.
	Tag() string
	// Root is the descriptor of the manifest or index.
	Root() ocispec.Descriptor
	// Has reports whether the content is there. A source of which nobody
	// expects gaps, and that would have to ask for each, says that it is.
	Has(ctx context.Context, desc ocispec.Descriptor) (bool, error)
	// Open opens the content; ctx bounds the reads, and the caller closes it.
	// The error is NotFound when the content is not there.
	Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error)
	// Referrers returns the manifests attached to desc: those of which it is
	// the subject and, with their tag as the annotation
	// org.opencontainers.image.ref.name, those attached by a tag.
	Referrers(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error)
	Close() error
}

// SourceOptions say how to reach sources.
type SourceOptions struct {
	// Insecure lets a registry be reached by TLS that nobody vouches for, or
	// by plain HTTP.
	Insecure bool
	// ContainerdAddress is containerd's socket, by default
	// /run/containerd/containerd.sock.
	ContainerdAddress string
	// Namespace is containerd's namespace, by default "default".
	Namespace string
	// DockerHost is the address of the Docker engine as in DOCKER_HOST, by
	// default unix:///var/run/docker.sock.
	DockerHost string
	// Platforms are those that will be wanted of the image. Docker is told when
	// it is one; the others don't care.
	Platforms []ocispec.Platform
	// TempDir is where docker-daemon: puts the image while it is read; by
	// default that of the system.
	TempDir string
}

const sourceForms = "docker://REF, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF], docker-daemon:REF or containerd:REF"

// OpenSource opens the image that text means. The error is Malformed when text
// has none of the forms
//
//	docker://REF
//	oci:DIR[:TAG]
//	oci-archive:FILE[:TAG]
//	docker-archive:FILE[:REF]
//	docker-daemon:REF
//	containerd:REF
//
// A DIR or FILE ends at its first colon.
func OpenSource(ctx context.Context, text string, o SourceOptions) (Source, error) {
	where, err := parseLocation(text)
	if err != nil {
		return nil, malformed("read the source "+quote(text), err, "write "+sourceForms)
	}
	switch where.kind {
	case kindRegistry:
		return openRegistry(ctx, where, o)
	case kindLayout:
		return openLayoutDir(where)
	case kindLayoutArchive:
		return openLayoutArchive(where)
	case kindDockerArchive:
		return openDockerArchive(ctx, where)
	case kindDockerDaemon:
		return openDockerDaemon(ctx, where, o)
	default:
		return openContainerd(ctx, where, o)
	}
}

// identity is what a Source knows of its image from the start.
type identity struct {
	name, tag string
	root      ocispec.Descriptor
}

func (i *identity) Name() string             { return i.name }
func (i *identity) Tag() string              { return i.tag }
func (i *identity) Root() ocispec.Descriptor { return i.root }
