// Package pintest has what the tests of keeping images need: a node and a store
// of records in memory, and the contracts that every such node and store keeps.
package pintest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

// Node is a node in memory. What is in its Network it can fetch; what it has
// fetched, or was given by Keep, it has itself.
type Node struct {
	Network *imagetest.Store

	mu    sync.Mutex
	local map[cid.Cid]bool
	pins  map[cid.Cid]pin.Pinned
	// others are pins that somebody else made.
	others map[cid.Cid]pin.Mode
	// Offline cuts the node off from its network.
	Offline bool
	// Disk is what Usage says; Blocks is counted.
	Disk pin.Usage
	// Step, unless it is nil, is called before each change of the pins.
	Step func() error
}

// NewNode returns a node that has nothing.
func NewNode() *Node {
	return &Node{Network: imagetest.NewStore(), local: map[cid.Cid]bool{}, pins: map[cid.Cid]pin.Pinned{}, others: map[cid.Cid]pin.Mode{}}
}

// AddFile implements imagetest.Adder: the network has the file, and not yet the
// node.
func (n *Node) AddFile(data []byte) cid.Cid { return n.Network.AddFile(data) }

// AddDir is like AddFile, for a directory.
func (n *Node) AddDir(entries map[string]cid.Cid) cid.Cid { return n.Network.AddDir(entries) }

// PinOther pins as somebody else does.
func (n *Node) PinOther(c cid.Cid, mode pin.Mode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.others[c] = mode
}

// Lose removes a block, as a broken disk does.
func (n *Node) Lose(c cid.Cid) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.local, c)
}

// take makes c the node's own; it needs mu.
func (n *Node) take(op string, c cid.Cid) error {
	if n.local[c] {
		return nil
	}
	if _, there := n.Network.Children(c); n.Offline || !there {
		return &image.Error{Class: image.Unavailable, Op: op, Err: fmt.Errorf("nobody has %s", c)}
	}
	n.local[c] = true
	return nil
}

// Open implements image.Source.
func (n *Node) Open(ctx context.Context, p image.Path) (image.File, error) {
	steps, err := n.Steps(ctx, p)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.take("open "+p.String(), steps[len(steps)-1]); err != nil {
		return nil, err
	}
	return n.Network.Open(ctx, p)
}

// Steps implements pin.Blocks, as do the others.
func (n *Node) Steps(_ context.Context, p image.Path) ([]cid.Cid, error) {
	steps, err := n.Network.Steps(p)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range steps[:len(steps)-1] {
		if err := n.take("open "+p.String(), c); err != nil {
			return nil, err
		}
	}
	return steps, nil
}

// each calls do with the CIDs of a DAG until it fails.
func (n *Node) each(c cid.Cid, mode pin.Mode, do func(cid.Cid) error) error {
	if err := do(c); err != nil || mode == pin.Direct {
		return err
	}
	children, _ := n.Network.Children(c)
	for _, child := range children {
		if err := n.each(child, mode, do); err != nil {
			return err
		}
	}
	return nil
}

var errGap = errors.New("a block is missing")

func (n *Node) here(c cid.Cid) error {
	if !n.local[c] {
		return errGap
	}
	return nil
}

// Whole reports whether all of a DAG is here.
func (n *Node) Whole(_ context.Context, c cid.Cid, mode pin.Mode) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.each(c, mode, n.here) == nil, nil
}

// Fetch brings what is missing.
func (n *Node) Fetch(_ context.Context, c cid.Cid, mode pin.Mode) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.each(c, mode, func(c cid.Cid) error { return n.take("fetch "+c.String(), c) })
}

// Pin pins what is whole.
func (n *Node) Pin(_ context.Context, parts []pin.Part, name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range parts {
		if p.Mode == pin.Covered {
			continue
		}
		if err := n.each(p.CID, p.Mode, n.here); err != nil {
			return fmt.Errorf("pin %s: %w", p.CID, err)
		}
		if err := n.step(); err != nil {
			return err
		}
		if had := n.pins[p.CID]; n.others[p.CID] == pin.Recursive || n.others[p.CID] == p.Mode || had.Mode == pin.Recursive {
			continue
		}
		n.pins[p.CID] = pin.Pinned{CID: p.CID, Mode: p.Mode, Name: name}
	}
	return nil
}

func (n *Node) step() error {
	if n.Step == nil {
		return nil
	}
	return n.Step()
}

// Unpin removes pins of ours.
func (n *Node) Unpin(_ context.Context, cids []cid.Cid) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range cids {
		if err := n.step(); err != nil {
			return err
		}
		delete(n.pins, c)
	}
	return nil
}

// Pins are the pins of ours.
func (n *Node) Pins(context.Context) iter.Seq2[pin.Pinned, error] {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []pin.Pinned
	for _, p := range n.pins {
		all = append(all, p)
	}
	return func(yield func(pin.Pinned, error) bool) {
		for _, p := range all {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// Collect removes what is neither pinned nor below a root.
func (n *Node) Collect(ctx context.Context, roots func(context.Context) ([]pin.Part, error), dry bool) (pin.Freed, error) {
	more, err := roots(ctx)
	if err != nil {
		return pin.Freed{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	needed := map[cid.Cid]bool{}
	note := func(c cid.Cid) error { needed[c] = true; return nil }
	for c, p := range n.pins {
		_ = n.each(c, p.Mode, note) // note never fails
	}
	for c, mode := range n.others {
		_ = n.each(c, mode, note)
	}
	for _, p := range more {
		_ = n.each(p.CID, p.Mode, note)
	}
	var freed pin.Freed
	for c := range n.local {
		if needed[c] {
			freed.Kept++
			continue
		}
		freed.Blocks++
		freed.Bytes += n.size(ctx, c)
		if !dry {
			delete(n.local, c)
		}
	}
	return freed, nil
}

func (n *Node) size(ctx context.Context, c cid.Cid) int64 {
	f, err := n.Network.Open(ctx, image.Path{Root: c})
	if err != nil {
		return 1 // a directory
	}
	return f.Size()
}

// Usage says what Disk says, as if each byte of a block took one of it.
func (n *Node) Usage(ctx context.Context) (pin.Usage, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.Disk
	for c := range n.local {
		u.Blocks += uint64(n.size(ctx, c))
	}
	u.Free = u.Total - min(u.Total, u.Blocks)
	return u, nil
}

// Has returns the CIDs that the node has itself.
func (n *Node) Has() []cid.Cid {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []cid.Cid
	for c := range n.local {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b cid.Cid) int { return slices.Compare(a.Bytes(), b.Bytes()) })
	return all
}

// Prove looks for blocks; what is in memory is never damaged, but may be lost.
func (n *Node) Prove(pin.ProveOptions) func(context.Context, cid.Cid, pin.Mode) (pin.Proved, error) {
	seen := map[cid.Cid]bool{}
	return func(_ context.Context, root cid.Cid, mode pin.Mode) (p pin.Proved, err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		err = n.each(root, mode, func(c cid.Cid) error {
			if seen[c] {
				return nil
			}
			seen[c] = true
			p.Blocks++
			switch {
			case n.local[c]:
				return nil
			case n.Offline:
				p.Broken++
				p.Names = append(p.Names, c)
			default:
				n.local[c] = true
				p.Repaired++
			}
			p.Damaged++
			return nil
		})
		return p, err
	}
}
