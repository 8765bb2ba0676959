package publish

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// readAhead is how many bytes are asked of containerd at once.
const readAhead = 1 << 20

// containerdSource is an image in containerd's content store. Often it has the
// content of one platform only.
type containerdSource struct {
	identity
	client *containerd.Client
	store  content.Store
}

func openContainerd(ctx context.Context, where location, o SourceOptions) (Source, error) {
	op := "find " + where.text
	client, err := dialContainerd(ctx, op, o.ContainerdAddress, o.Namespace)
	if err != nil {
		return nil, err
	}
	found, err := findImage(ctx, client.ImageService(), where.ref)
	if err != nil {
		if errdefs.IsNotFound(err) {
			err = notFound(op, err, fmt.Sprintf("check the name with \"nerdctl --namespace %s images\"", client.DefaultNamespace()))
		}
		return nil, errors.Join(classed(op, err), client.Close())
	}
	s := &containerdSource{identity: identity{name: found.Name, root: found.Target}, client: client, store: client.ContentStore()}
	if named, err := normalize(found.Name); err == nil {
		s.tag = tagOf(named)
	}
	return s, nil
}

// findImage looks for the name as it is written and then as nerdctl reads it.
func findImage(ctx context.Context, store images.Store, ref string) (images.Image, error) {
	found, err := store.Get(ctx, ref)
	if !errdefs.IsNotFound(err) {
		return found, err
	}
	name, err := containerdName(ref)
	if err != nil {
		return images.Image{}, err
	}
	return store.Get(ctx, name)
}

// Has asks.
func (s *containerdSource) Has(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	if err := checkDescriptor(desc); err != nil {
		return false, nil //nolint:nilerr // what no digest names nobody has
	}
	_, err := s.store.Info(ctx, desc.Digest)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, classed("look for "+desc.Digest.String()+" of "+s.name, err)
	}
	return true, nil
}

func (s *containerdSource) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	ra, err := s.store.ReaderAt(ctx, plain(desc))
	if err != nil {
		return nil, containerdError("read "+desc.Digest.String()+" of "+s.name, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{bufio.NewReaderSize(content.NewReader(ra), readAhead), ra}, nil
}

// Referrers are none: containerd keeps no signatures.
func (s *containerdSource) Referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return nil, nil
}

func (s *containerdSource) Close() error { return s.client.Close() }
