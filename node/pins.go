package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"

	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/mfs"
	pinner "github.com/ipfs/boxo/pinning/pinner"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"golang.org/x/sync/errgroup"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

// ownPins is how the names of our pins begin. Any other pin is somebody else's.
const ownPins = "ipfs-registry: "

// fetchWidth is how many blocks Fetch asks for at a time.
const fetchWidth = 16

// Pin implements pin.Pinset, by Kubo's pins.
func (n *Node) Pin(ctx context.Context, parts []pin.Part, name string) error {
	e, err := n.embedded("pin " + name)
	if err != nil {
		return err
	}
	if err := e.pin(ctx, parts, ownPins+name); err != nil {
		return err
	}
	e.announcePins(parts)
	return nil
}

// pin pins in the order of parts.
func (e *embedded) pin(ctx context.Context, parts []pin.Part, name string) error {
	defer e.repo.barrier.hold()()
	for _, p := range parts {
		if p.Mode == pin.Covered {
			continue
		}
		if err := e.walk(ctx, p.CID, p.Mode, func(c cid.Cid) error {
			return fmt.Errorf("pin %s: its block %s is missing", p.CID, c)
		}); err != nil {
			return err
		}
	}
	if err := e.syncBlocks(ctx); err != nil {
		return err
	}
	for _, p := range parts {
		if p.Mode == pin.Covered {
			continue
		}
		if err := e.pinOne(ctx, p, name); err != nil {
			return fmt.Errorf("pin %s: %w", p.CID, err)
		}
	}
	return nil
}

// syncBlocks writes the blocks through to the disk. flatfs leaves that to the
// kernel; see its "sync" setting.
func (e *embedded) syncBlocks(ctx context.Context) error {
	err := e.node.Repo.Datastore().Sync(ctx, blockstore.BlockPrefix)
	if err == nil {
		err = syncFilesystem(e.node.Repo.Path())
	}
	if err != nil {
		return fmt.Errorf("sync blocks: %w", err)
	}
	return nil
}

// pinOne pins what is not pinned as much already. Pinning anew what is pinned,
// Kubo would remove the pin at first, and a crash might then cost it.
func (e *embedded) pinOne(ctx context.Context, p pin.Part, name string) error {
	defer e.node.Blockstore.PinLock(ctx).Unlock(ctx)
	found, err := e.node.Pinning.CheckIfPinnedWithType(ctx, pinner.Recursive, false, p.CID)
	if err != nil {
		return err
	}
	if len(found) > 0 && found[0].Pinned() {
		return nil
	}
	mode := pinner.Recursive
	if p.Mode == pin.Direct {
		found, err := e.node.Pinning.CheckIfPinnedWithType(ctx, pinner.Direct, false, p.CID)
		if err != nil || len(found) > 0 && found[0].Pinned() {
			return err
		}
		mode = pinner.Direct
	}
	return e.node.Pinning.PinWithMode(ctx, p.CID, mode, name)
}

// Unpin implements pin.Pinset. What was published is published no more.
func (n *Node) Unpin(ctx context.Context, cids []cid.Cid) error {
	e, err := n.embedded("unpin")
	if err != nil {
		return err
	}
	for _, c := range cids {
		if err := e.unpin(ctx, c); err != nil {
			return fmt.Errorf("unpin %s: %w", c, err)
		}
	}
	return e.unpublish(ctx, cids)
}

func (e *embedded) unpin(ctx context.Context, c cid.Cid) error {
	defer e.node.Blockstore.PinLock(ctx).Unlock(ctx)
	for _, mode := range []pinner.Mode{pinner.Recursive, pinner.Direct} {
		found, err := e.node.Pinning.CheckIfPinnedWithType(ctx, mode, true, c)
		if err != nil {
			return err
		}
		for _, p := range found {
			if !p.Pinned() || !strings.HasPrefix(p.Name, ownPins) {
				continue
			}
			if err := e.node.Pinning.Unpin(ctx, c, mode == pinner.Recursive); err != nil && !errors.Is(err, pinner.ErrNotPinned) {
				return err
			}
		}
	}
	return nil
}

// unpublish removes roots from what is remembered as published: that keeps its
// blocks from garbage collection too.
func (e *embedded) unpublish(ctx context.Context, roots []cid.Cid) error {
	defer e.node.Blockstore.PinLock(ctx).Unlock(ctx)
	found, err := mfs.Lookup(e.node.FilesRoot, publishedDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil // nothing was ever published
	}
	dir, ok := found.(*mfs.Directory)
	if !ok {
		return fmt.Errorf("open %s of the node's files: %w", publishedDir, err)
	}
	changed := false
	for _, c := range roots {
		if _, err := dir.Child(c.String()); err != nil {
			continue
		}
		if err := dir.Unlink(c.String()); err != nil {
			return fmt.Errorf("forget that %s was published: %w", c, err)
		}
		changed = true
	}
	if !changed {
		return nil
	}
	_, err = mfs.FlushPath(ctx, e.node.FilesRoot, publishedDir)
	return err
}

// Pins implements pin.Pinset.
func (n *Node) Pins(ctx context.Context) iter.Seq2[pin.Pinned, error] {
	return func(yield func(pin.Pinned, error) bool) {
		e, err := n.embedded("list pins")
		if err != nil {
			yield(pin.Pinned{}, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for mode, keys := range map[pin.Mode]<-chan pinner.StreamedPin{
			pin.Recursive: e.node.Pinning.RecursiveKeys(ctx, true),
			pin.Direct:    e.node.Pinning.DirectKeys(ctx, true),
		} {
			for p := range keys {
				name, ours := strings.CutPrefix(p.Pin.Name, ownPins)
				if p.Err == nil && !ours {
					continue
				}
				if !yield(pin.Pinned{CID: p.Pin.Key, Mode: mode, Name: name}, p.Err) || p.Err != nil {
					return
				}
			}
		}
	}
}

// Steps implements pin.Blocks.
func (c *content) Steps(ctx context.Context, p image.Path) ([]cid.Cid, error) {
	names, err := splitPath(p)
	if err != nil {
		return nil, &image.Error{Class: image.Malformed, Op: "open " + p.String(), Err: err}
	}
	steps := []cid.Cid{p.Root}
	l := &loader{content: c, ctx: ctx, op: "open", path: p, met: func(shard cid.Cid) { steps = append(steps, shard) }}
	defer l.close()
	at := p.Root
	for i := range names {
		if at, err = l.child(image.Path{Root: p.Root, Rest: strings.Join(names[:i], "/")}, at, names[i:]); err != nil {
			return nil, err
		}
		steps = append(steps, at)
	}
	return steps, nil
}

// Whole implements pin.Blocks.
func (n *Node) Whole(ctx context.Context, c cid.Cid, mode pin.Mode) (bool, error) {
	e, err := n.embedded("look for " + c.String())
	if err != nil {
		return false, err
	}
	gap := errors.New("gap")
	err = e.walk(ctx, c, mode, func(cid.Cid) error { return gap })
	if errors.Is(err, gap) {
		return false, nil
	}
	return err == nil, err
}

// walk looks at every block of a DAG, and calls missing with those that are not
// here, which may be told only when what is above them is.
func (e *embedded) walk(ctx context.Context, root cid.Cid, mode pin.Mode, missing func(cid.Cid) error) error {
	dag, seen, todo := e.localDAG(), cid.NewSet(), []cid.Cid{root}
	for len(todo) > 0 {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !seen.Visit(c) {
			continue
		}
		here, err := e.node.Blockstore.Has(ctx, c)
		if err == nil && here && c.Type() != cid.Raw && mode != pin.Direct {
			var links []*ipld.Link
			links, err = ipld.GetLinks(ctx, dag, c)
			todo = append(todo, cidsOf(links)...)
		}
		if err == nil && !here {
			err = missing(c)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Fetch implements pin.Blocks.
func (n *Node) Fetch(ctx context.Context, root cid.Cid, mode pin.Mode) error {
	e, err := n.embedded("fetch " + root.String())
	if err != nil {
		return err
	}
	for {
		var missing []cid.Cid
		if err := e.walk(ctx, root, mode, func(c cid.Cid) error { missing = append(missing, c); return nil }); err != nil {
			return err
		}
		if len(missing) == 0 {
			return nil
		}
		if err := n.fetchAll(ctx, root, missing); err != nil {
			return err
		}
	}
}

func (n *Node) fetchAll(ctx context.Context, root cid.Cid, missing []cid.Cid) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fetchWidth)
	for _, c := range missing {
		group.Go(func() error {
			l := &loader{content: n.content, ctx: ctx, op: "fetch", path: image.Path{Root: root}}
			defer l.close()
			_, err := l.node(c)
			return err
		})
	}
	return group.Wait()
}

// Hold keeps whatever is added to the node from now on from garbage collection
// until release is called: it is for those who add first and pin later.
func (n *Node) Hold(ctx context.Context) (release func(), err error) {
	switch b := n.backing.(type) {
	case *embedded:
		return b.repo.barrier.hold(), nil
	case *remote:
		if b.ours {
			return requestHold(ctx, b.client)
		}
	}
	return func() {}, nil
}
