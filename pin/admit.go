package pin

import (
	"context"
	"errors"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// AdmitClosure decides about handing on, outside of the registry, all of a part
// of the image at p.
func (k *Keeper) AdmitClosure(ctx context.Context, p image.Path, c *image.Closure) error {
	if err := k.admit(ctx, &Image{Root: p.Root, Rest: p.Rest, Has: c.Manifests}, c); err != nil {
		return err
	}
	if policy := k.options.Policy; policy.open() || policy.Serve != ServePinned {
		return nil
	}
	i, err := k.ledger.keptAt(ctx, p)
	if err != nil {
		return err
	}
	return NeedsKept(i, p, c)
}

// NeedsKept is nil if i, which may be nil, is kept with all of the closure of
// the image at p.
func NeedsKept(i *Image, p image.Path, c *image.Closure) error {
	if i == nil || i.State != Kept {
		return NotPinned(p)
	}
	for _, dgst := range c.Manifests {
		if !i.Whole && !slices.Contains(i.Has, dgst) {
			return NotPinned(p)
		}
	}
	return nil
}

// AdmitFile decides about a file that is asked for by its CID and no image.
func (g *Guard) AdmitFile(ctx context.Context, c cid.Cid) error {
	if g.keeper.signed != nil {
		return &image.Error{Class: image.Denied, Op: "serve " + c.String(), Err: errors.New("policy.key demands a signature, and a file by itself has none"),
			Hint: "pull the image that it belongs to from the registry"}
	}
	if g.policy.open() {
		return nil
	}
	roots := map[cid.Cid]bool{}
	if g.policy.Serve == ServeList {
		list, err := g.policy.listed()
		if err != nil || list.roots[c] {
			return err
		}
		roots = list.roots
	}
	p := image.Path{Root: c}
	images, err := g.keeper.ledger.ImagesOf(ctx, c)
	if err != nil {
		return err
	}
	for _, root := range images {
		if g.policy.Serve == ServePinned || roots[root] {
			return nil
		}
	}
	if g.policy.Serve == ServeList {
		return deniedByList("serve", p, g.policy.List)
	}
	return NotPinned(p)
}
