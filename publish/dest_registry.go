package publish

import (
	"context"
	"errors"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
)

// registryDestination is a repository in a registry.
type registryDestination struct {
	repo *remote.Repository
	op   string
	tag  string
}

func newRegistryDestination(ctx context.Context, where location, o DestinationOptions) (Destination, error) {
	d := &registryDestination{op: "push to " + where.text}
	named, err := normalize(where.ref)
	if err != nil {
		return nil, malformed(d.op, err, "")
	}
	if d.tag = tagOf(named); d.tag == "" {
		return nil, malformed(d.op, errors.New("it names a digest and no tag"), "name a tag")
	}
	if d.repo, err = openRepository(ctx, named, o.Insecure); err != nil {
		return nil, malformed(d.op, err, "")
	}
	return d, nil
}

// Wants a whole index, because most registries refuse one of which manifests
// are absent.
func (d *registryDestination) Wants() Wants { return Wants{WholeIndex: true, Attached: true} }

func (d *registryDestination) Has(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	ok, err := d.repo.Exists(ctx, desc)
	if err != nil {
		return false, registryError(d.op, err)
	}
	return ok, nil
}

func (d *registryDestination) Put(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	err := d.repo.Push(ctx, desc, r)
	if errors.Is(err, errdef.ErrAlreadyExists) {
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		return registryError(d.op, err)
	}
	return nil
}

// Finish gives the tags.
func (d *registryDestination) Finish(ctx context.Context, p Pulled) error {
	for _, desc := range p.Attached {
		if tag := refName(desc); tag != "" {
			if err := d.repo.Tag(ctx, plain(desc), tag); err != nil {
				return registryError(d.op, err)
			}
		}
	}
	if err := d.repo.Tag(ctx, plain(p.Root), d.tag); err != nil {
		return registryError(d.op, err)
	}
	return nil
}

func (d *registryDestination) Close() error { return nil }
