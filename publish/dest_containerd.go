package publish

import (
	"context"
	"errors"
	"io"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// containerdDestination is an image in containerd. A lease keeps what is put
// there until the image's record does.
type containerdDestination struct {
	client *containerd.Client
	lease  leases.Lease
	name   string
	op     string
}

func newContainerdDestination(ctx context.Context, where location, o DestinationOptions) (Destination, error) {
	d := &containerdDestination{op: "write " + where.text}
	var err error
	if d.name, err = containerdName(where.ref); err != nil {
		return nil, malformed(d.op, err, "")
	}
	if d.client, err = dialContainerd(ctx, d.op, o.ContainerdAddress, o.Namespace); err != nil {
		return nil, err
	}
	d.lease, err = d.client.LeasesService().Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseLimit))
	if err != nil {
		return nil, errors.Join(containerdError(d.op, err), d.client.Close())
	}
	return d, nil
}

func (d *containerdDestination) Wants() Wants { return Wants{} }

// Has puts what is there under the lease, too.
func (d *containerdDestination) Has(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	_, err := d.client.ContentStore().Info(ctx, desc.Digest)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err == nil {
		err = d.client.LeasesService().AddResource(ctx, d.lease, leases.Resource{ID: desc.Digest.String(), Type: "content"})
	}
	if err != nil {
		return false, containerdError(d.op, err)
	}
	return true, nil
}

// Put writes under a name of the lease's own, so as to wait for nobody else who
// writes the same.
func (d *containerdDestination) Put(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	ctx = leases.WithLease(ctx, d.lease.ID)
	ref := "ipfs-registry-" + d.lease.ID + "-" + desc.Digest.String()
	if err := content.WriteBlob(ctx, d.client.ContentStore(), ref, r, plain(desc)); err != nil {
		_ = d.client.ContentStore().Abort(context.WithoutCancel(ctx), ref) // the end of the lease would do it, later
		return err
	}
	_, err := io.Copy(io.Discard, r) // unread where it was there by now
	return err
}

// Finish labels every manifest with what it names, so that containerd's garbage
// collector keeps it, and makes or moves the image's record.
func (d *containerdDestination) Finish(ctx context.Context, p Pulled) error {
	store := d.client.ContentStore()
	err := images.Walk(ctx, images.SetChildrenLabels(store, present(store)), p.Root)
	if err != nil {
		return containerdError(d.op, err)
	}
	record := images.Image{Name: d.name, Target: plain(p.Root)}
	_, err = d.client.ImageService().Create(ctx, record)
	if errdefs.IsAlreadyExists(err) {
		_, err = d.client.ImageService().Update(ctx, record, "target")
	}
	if err != nil {
		return containerdError(d.op, err)
	}
	return nil
}

// present is the children of a manifest that is there; one of a platform that
// was left out has none.
func present(store content.Store) images.HandlerFunc {
	return func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		children, err := images.Children(ctx, store, desc)
		if errdefs.IsNotFound(err) {
			return nil, nil
		}
		return children, err
	}
}

// Close ends the lease.
func (d *containerdDestination) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), greetLimit)
	defer cancel()
	return errors.Join(d.client.LeasesService().Delete(ctx, d.lease), d.client.Close())
}
