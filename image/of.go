package image

import (
	"context"

	"github.com/ipfs/go-cid"
)

type rootKey struct{}

// Of returns a context for Opens of what belongs to the image that begins at
// root. In some forms each blob has a CID of its own, and a Source that has found
// out who has one of them should not begin anew with the next.
func Of(ctx context.Context, root cid.Cid) context.Context {
	return context.WithValue(ctx, rootKey{}, root)
}

// RootIn returns the root that the context of an Open says; false if it is none.
func RootIn(ctx context.Context) (cid.Cid, bool) {
	root, ok := ctx.Value(rootKey{}).(cid.Cid)
	return root, ok && root.Defined()
}
