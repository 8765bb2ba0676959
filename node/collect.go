package node

import (
	"context"
	"fmt"
	"time"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipfs/kubo/core/corerepo"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

const (
	// maxBatch and maxHolding bound how long others wait for removals.
	maxBatch   = 64
	maxHolding = 10 * time.Millisecond
)

// Collect implements pin.Blocks: it removes the blocks that nothing needs. What
// is needed are the pins, whoever made them, what Kubo's file system leads to,
// the DAGs of roots as far as they are here, the files that are open, and
// everything that anybody touches while the collection runs. One runs at a
// time. It fails, having removed nothing, when a block of a pinned DAG is missing.
func (n *Node) Collect(ctx context.Context, roots func(context.Context) ([]pin.Part, error), dry bool) (pin.Freed, error) {
	e, err := n.embedded("collect garbage")
	if err != nil {
		return pin.Freed{}, err
	}
	select {
	case e.collecting <- struct{}{}:
		defer func() { <-e.collecting }()
	case <-ctx.Done():
		return pin.Freed{}, ctx.Err()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing of keys
	defer e.repo.barrier.hold()()
	n.inUse.watch()
	defer n.inUse.unwatch()
	c := newCollection(n, e, dry)
	if err := c.mark(ctx, roots); err != nil {
		return pin.Freed{}, fmt.Errorf("collect garbage: nothing was removed: %w", err)
	}
	return c.freed, c.sweep(ctx)
}

// collection is one run of Collect.
type collection struct {
	content *content
	node    *embedded
	// blocks are the node's behind the barrier: what the collection itself
	// reads is nobody's need.
	blocks *barrier
	links  ipld.NodeGetter
	dry    bool
	// marked are the blocks that are needed, true if what is below them is too.
	marked map[mark]bool
	freed  pin.Freed
}

func newCollection(n *Node, e *embedded, dry bool) *collection {
	b := e.repo.barrier
	// Past Kubo's cache, in which it would replace what others look for.
	uncached := checkedBlocks{blockstore.NewIdStore(blockstore.NewBlockstore(e.node.Repo.Datastore())), e.repo.disk}
	return &collection{
		content: n.content, node: e, blocks: b, dry: dry, marked: map[mark]bool{},
		links: merkledag.NewDAGService(blockservice.New(uncached, offline.Exchange(uncached))),
	}
}

// mark notes what is needed.
func (c *collection) mark(ctx context.Context, roots func(context.Context) ([]pin.Part, error)) error {
	for p := range c.node.node.Pinning.RecursiveKeys(ctx, false) {
		if p.Err != nil {
			return p.Err
		}
		if err := c.walk(ctx, p.Pin.Key, pinBroken); err != nil {
			return err
		}
	}
	for p := range c.node.node.Pinning.DirectKeys(ctx, false) {
		if p.Err != nil {
			return p.Err
		}
		c.markOne(p.Pin.Key)
	}
	return c.markRoots(ctx, roots)
}

// markRoots notes what is needed and may have gaps.
func (c *collection) markRoots(ctx context.Context, roots func(context.Context) ([]pin.Part, error)) error {
	files, err := corerepo.BestEffortRoots(c.node.node)
	if err != nil {
		return err
	}
	for _, root := range files {
		if err := c.walk(ctx, root, pass); err != nil {
			return err
		}
	}
	more, err := roots(ctx)
	if err != nil {
		return err
	}
	for _, p := range more {
		if p.Mode == pin.Direct {
			c.markOne(p.CID)
		} else if err := c.walk(ctx, p.CID, pass); err != nil {
			return err
		}
	}
	return nil
}

// markOne marks a block alone. That the same bytes are, by another CID, a node
// with others below it is not forgotten.
func (c *collection) markOne(k cid.Cid) {
	if m := markOf(k); !c.marked[m] {
		c.marked[m] = false
	}
}

// pass is for DAGs that may have gaps.
func pass(cid.Cid, error) error { return nil }

func pinBroken(c cid.Cid, err error) error {
	return &image.Error{Op: "find what is pinned", Err: fmt.Errorf("the block %s of a pinned DAG: %w", c, err),
		Hint: "fetch what is missing with \"ipfs-registry pin verify --all\", or remove the pin"}
}

// walk marks a DAG. missing decides what becomes of a block that is not here.
func (c *collection) walk(ctx context.Context, root cid.Cid, missing func(cid.Cid, error) error) error {
	todo := []cid.Cid{root}
	for len(todo) > 0 {
		k := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if k.Type() == cid.Raw {
			c.markOne(k)
			continue
		}
		if c.marked[markOf(k)] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		c.marked[markOf(k)] = true
		children, err := c.children(ctx, k)
		if err != nil {
			if err := missing(k, err); err != nil {
				return err
			}
		}
		todo = append(todo, children...)
	}
	return nil
}

// children are the CIDs that a block links to: also if it is not here any more,
// but readers still know what it said.
func (c *collection) children(ctx context.Context, k cid.Cid) ([]cid.Cid, error) {
	links, err := ipld.GetLinks(ctx, c.links, k)
	if err == nil {
		return cidsOf(links), nil
	}
	var children []cid.Cid
	if p, ok := c.content.pages.get(k); ok {
		for _, s := range p.segments {
			if s.kind != inline {
				children = append(children, s.cid)
			}
		}
	}
	return children, err
}

func cidsOf(links []*ipld.Link) []cid.Cid {
	cids := make([]cid.Cid, len(links))
	for i, l := range links {
		cids[i] = l.Cid
	}
	return cids
}

// sweep removes what is not marked, a little at a time.
func (c *collection) sweep(ctx context.Context) error {
	keys, err := c.blocks.AllKeysChan(ctx)
	if err != nil {
		return fmt.Errorf("list the blocks: %w", err)
	}
	var batch []cid.Cid
	for k := range keys {
		if _, needed := c.marked[markOf(k)]; needed {
			c.freed.Kept++
			continue
		}
		if batch = append(batch, k); len(batch) == maxBatch {
			if err := c.remove(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	if err := c.remove(ctx, batch); err != nil {
		return err
	}
	return ctx.Err()
}

// remove removes those of the blocks that nobody needs by now.
func (c *collection) remove(ctx context.Context, batch []cid.Cid) error {
	for len(batch) > 0 {
		fresh, unlock := c.content.inUse.take()
		for _, root := range fresh {
			if err := c.walk(ctx, root, pass); err != nil {
				return err
			}
		}
		if fresh != nil {
			continue
		}
		began := time.Now()
		n, err := c.removeSome(ctx, batch)
		unlock()
		if err != nil {
			return err
		}
		batch = batch[n:]
		// The disk is others' for as long.
		select {
		case <-time.After(time.Since(began)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// removeSome removes blocks for a moment and returns how many it is done with.
func (c *collection) removeSome(ctx context.Context, batch []cid.Cid) (int, error) {
	if !c.dry {
		c.blocks.gate.Lock()
		defer c.blocks.gate.Unlock()
	}
	began := time.Now()
	for i, k := range batch {
		if time.Since(began) > maxHolding {
			return i, nil
		}
		if err := c.removeOne(ctx, k); err != nil {
			return i, err
		}
	}
	return len(batch), nil
}

func (c *collection) removeOne(ctx context.Context, k cid.Cid) error {
	if _, needed := c.marked[markOf(k)]; needed || c.blocks.isTouched(k) {
		c.freed.Kept++
		return nil
	}
	size, err := c.blocks.Blockstore.GetSize(ctx, k)
	if ipld.IsNotFound(err) {
		var damaged bool
		if size, damaged = c.content.disk.damagedSize(k); !damaged {
			return nil // somebody else removed it
		}
		err = nil
	}
	if err == nil && !c.dry {
		err = c.blocks.DeleteBlock(ctx, k)
	}
	if err != nil {
		return fmt.Errorf("remove the block %s: %w", k, err)
	}
	c.content.opened.forget(k)
	c.freed.Blocks++
	c.freed.Bytes += int64(size)
	return nil
}

// embedded is the node itself, for what only an embedded one can do.
func (n *Node) embedded(op string) (*embedded, error) {
	e, ok := n.backing.(*embedded)
	if !ok {
		return nil, &image.Error{Op: op, Err: errNotEmbedded, Hint: "use the IPFS node's own tools, or run without --ipfs-address"}
	}
	return e, nil
}
