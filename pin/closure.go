package pin

import (
	"context"
	"math"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Resolver is what keeping asks about images. *image.Resolver is one.
type Resolver interface {
	Closure(ctx context.Context, p image.Path, s image.Selection) (*image.Closure, error)
	Images
}

// Closure returns the parts of an image: what has to be pinned, and how, for
// every block of it to stay. Where the DAG of the root is all of it, that is
// one Recursive part, the root, and the rest is Covered; and with all, what
// else is below the root is kept too. The parts are never none.
func Closure(ctx context.Context, r Resolver, b Blocks, p image.Path, s image.Selection, all bool) (*image.Closure, []Part, error) {
	c, err := r.Closure(ctx, p, s)
	if err != nil {
		return nil, nil, err
	}
	l := &lister{blocks: b, root: p.Root, at: map[cid.Cid]int{}}
	if l.below = c.Whole || all; l.below {
		l.add(Part{CID: p.Root, Mode: Recursive})
	}
	for _, blob := range c.Blobs {
		if err := l.file(ctx, blob.Path, Part{Size: blob.Size, Digest: blob.Digest}); err != nil {
			return nil, nil, err
		}
	}
	for _, doc := range c.Documents {
		if err := l.file(ctx, doc, Part{}); err != nil {
			return nil, nil, err
		}
	}
	for _, dir := range c.Directories {
		if err := l.dir(ctx, dir); err != nil {
			return nil, nil, err
		}
	}
	return c, l.parts, nil
}

// lister lists parts, each once.
type lister struct {
	blocks Blocks
	root   cid.Cid
	below  bool // all below the root is kept anyway
	parts  []Part
	at     map[cid.Cid]int
}

// file adds the file at a path and the directories on the way to it.
func (l *lister) file(ctx context.Context, p image.Path, part Part) error {
	steps, err := l.blocks.Steps(ctx, p)
	if err != nil {
		return err
	}
	l.dirs(p, steps[:len(steps)-1])
	part.CID, part.Mode = steps[len(steps)-1], l.mode(p, Recursive)
	l.add(part)
	return nil
}

func (l *lister) dir(ctx context.Context, p image.Path) error {
	steps, err := l.blocks.Steps(ctx, p)
	if err != nil {
		return err
	}
	l.dirs(p, steps)
	return nil
}

func (l *lister) dirs(p image.Path, cids []cid.Cid) {
	for _, c := range cids {
		l.add(Part{CID: c, Mode: l.mode(p, Direct)})
	}
}

// mode is m for what no other part reaches.
func (l *lister) mode(p image.Path, m Mode) Mode {
	if l.below && p.Root == l.root {
		return Covered
	}
	return m
}

func (l *lister) add(p Part) {
	i, there := l.at[p.CID]
	if !there {
		l.at[p.CID] = len(l.parts)
		l.parts = append(l.parts, p)
		return
	}
	if had := &l.parts[i]; p.Digest != "" && had.Digest != p.Digest {
		had.Digest = "" // a file with several blobs in it
		had.Size = min(had.Size+p.Size, math.MaxInt64/2)
	}
}

// whole reports whether the first of the parts reaches all the others.
func whole(parts []Part) bool {
	return parts[0].Mode == Recursive && !slices.ContainsFunc(parts[1:], func(p Part) bool { return p.Mode != Covered })
}
