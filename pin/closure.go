package pin

import (
	"context"

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
// one Recursive part, the root, and the rest is Covered.
func Closure(ctx context.Context, r Resolver, b Blocks, p image.Path, s image.Selection) (*image.Closure, []Part, error) {
	c, err := r.Closure(ctx, p, s)
	if err != nil {
		return nil, nil, err
	}
	l := &lister{blocks: b, whole: c.Whole, at: map[cid.Cid]int{}}
	if c.Whole {
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
	whole  bool
	parts  []Part
	at     map[cid.Cid]int
}

// file adds the file at a path and the directories on the way to it.
func (l *lister) file(ctx context.Context, p image.Path, part Part) error {
	steps, err := l.blocks.Steps(ctx, p)
	if err != nil {
		return err
	}
	l.dirs(steps[:len(steps)-1])
	part.CID, part.Mode = steps[len(steps)-1], Recursive
	l.add(part)
	return nil
}

func (l *lister) dir(ctx context.Context, p image.Path) error {
	steps, err := l.blocks.Steps(ctx, p)
	if err != nil {
		return err
	}
	l.dirs(steps)
	return nil
}

func (l *lister) dirs(cids []cid.Cid) {
	for _, c := range cids {
		l.add(Part{CID: c, Mode: Direct})
	}
}

func (l *lister) add(p Part) {
	if l.whole && len(l.parts) > 0 {
		p.Mode = Covered
	}
	i, there := l.at[p.CID]
	if !there {
		l.at[p.CID] = len(l.parts)
		l.parts = append(l.parts, p)
		return
	}
	if had := &l.parts[i]; p.Digest != "" && had.Digest != p.Digest {
		had.Digest = "" // a file with several blobs in it
		had.Size += p.Size
	}
}
