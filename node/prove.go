package node

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"golang.org/x/sync/errgroup"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

const (
	// maxNamed is how many blocks that could not be mended are named.
	maxNamed = 3
	// maxFailed is how many blocks in a row may not come until no more are
	// asked for.
	maxFailed = 4
)

// Prove implements pin.Blocks. The blocks are hashed side by side, from their
// files, whether or not that was done before; none is hashed twice in one run.
func (n *Node) Prove(o pin.ProveOptions) func(context.Context, cid.Cid, pin.Mode) (pin.Proved, error) {
	r := &proving{node: n, options: o, seen: map[mark]bool{}, began: time.Now()}
	return r.dag
}

// proving is one run of proofs.
type proving struct {
	node    *Node
	options pin.ProveOptions
	began   time.Time

	mu     sync.Mutex
	seen   map[mark]bool // whether the block is broken
	failed int           // blocks in a row that did not come
	bytes  int64
}

// dagProof is the proving of one DAG.
type dagProof struct {
	*proving
	root   cid.Cid
	mu     sync.Mutex
	proved pin.Proved
}

func (r *proving) dag(ctx context.Context, root cid.Cid, mode pin.Mode) (pin.Proved, error) {
	if _, err := r.node.embedded("verify " + root.String()); err != nil {
		return pin.Proved{}, err
	}
	p := &dagProof{proving: r, root: root}
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(max(r.options.Workers, 1) + 1)
	group.Go(func() error { return p.walk(within, group, mode) })
	err := group.Wait()
	return p.proved, err
}

// walk proves the nodes of the DAG one by one, and has its leaves proved.
func (p *dagProof) walk(ctx context.Context, group *errgroup.Group, mode pin.Mode) error {
	todo := []cid.Cid{p.root}
	for len(todo) > 0 {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !p.begin(c) {
			continue
		}
		if c.Type() == cid.Raw {
			if err := p.prove(ctx, group, c); err != nil {
				return err
			}
			continue
		}
		if err := p.block(ctx, c); err != nil {
			return err
		}
		if mode == pin.Direct {
			continue
		}
		links, err := ipld.GetLinks(ctx, p.local(), c)
		if err != nil {
			continue // it is broken, and has been told
		}
		todo = append(todo, cidsOf(links)...)
	}
	return nil
}

func (p *dagProof) local() ipld.NodeGetter {
	e, _ := p.node.backing.(*embedded) // dag has looked
	return e.localDAG()
}

// prove has a leaf proved as soon as a worker is free.
func (p *dagProof) prove(ctx context.Context, group *errgroup.Group, c cid.Cid) error {
	if p.options.Workers <= 1 {
		return p.block(ctx, c)
	}
	group.Go(func() error { return p.block(ctx, c) })
	return ctx.Err()
}

// begin reports whether a block is still to be proved in this run. One that was,
// and is broken, is so for every DAG that it belongs to.
func (p *dagProof) begin(c cid.Cid) bool {
	p.proving.mu.Lock()
	broken, done := p.seen[markOf(c)]
	if !done {
		p.seen[markOf(c)] = false
	}
	p.proving.mu.Unlock()
	if done && broken {
		p.broken(c)
	}
	return !done
}

// block hashes one block and retrieves it again if it is damaged or missing.
func (p *dagProof) block(ctx context.Context, c cid.Cid) error {
	size, why, err := p.node.inspect(ctx, c, p.options.Rate > 0)
	if err != nil {
		return err
	}
	if err := p.pace(ctx, size); err != nil {
		return err
	}
	p.mu.Lock()
	p.proved.Blocks++
	p.proved.Bytes += size
	p.mu.Unlock()
	if why == nil {
		return nil
	}
	mended := p.mend(ctx, c)
	p.mu.Lock()
	p.proved.Damaged++
	if mended {
		p.proved.Repaired++
	}
	p.mu.Unlock()
	if !mended {
		p.broken(c)
	}
	return ctx.Err()
}

// mend retrieves a block again. When several in a row did not come, the others
// are not waited for either.
func (p *dagProof) mend(ctx context.Context, c cid.Cid) bool {
	p.proving.mu.Lock()
	hopeless := p.failed >= maxFailed
	p.seen[markOf(c)] = hopeless
	p.proving.mu.Unlock()
	if hopeless {
		return false
	}
	l := &loader{content: p.node.content, ctx: ctx, op: "retrieve again", path: image.Path{Root: p.root}}
	defer l.close()
	_, err := l.node(c)
	p.proving.mu.Lock()
	defer p.proving.mu.Unlock()
	if err == nil {
		p.failed = 0
		return true
	}
	p.failed++
	p.seen[markOf(c)] = true
	return false
}

func (p *dagProof) broken(c cid.Cid) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proved.Broken++
	if len(p.proved.Names) < maxNamed {
		p.proved.Names = append(p.proved.Names, c)
	}
}

// pace keeps the run at its rate.
func (p *dagProof) pace(ctx context.Context, size int64) error {
	if p.options.Rate <= 0 {
		return ctx.Err()
	}
	p.proving.mu.Lock()
	p.bytes += size
	due := p.began.Add(time.Duration(float64(p.bytes) / float64(p.options.Rate) * float64(time.Second)))
	p.proving.mu.Unlock()
	select {
	case <-time.After(time.Until(due)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// inspect hashes a block as it lies on the disk and returns its size in bytes
// and why it is not as it should be, if it is not. With fresh it is read from
// the disk itself, not from what the system remembers of it.
func (n *Node) inspect(ctx context.Context, c cid.Cid, fresh bool) (size int64, why, err error) {
	if name, ok := n.disk.path(c); ok {
		return n.disk.inspect(c, name, fresh)
	}
	// No file of its own: its blockstore reads it, and the check is below that.
	e, err := n.embedded("verify " + c.String())
	if err != nil {
		return 0, nil, err
	}
	block, err := e.node.Blockstore.Get(ctx, c)
	switch {
	case ipld.IsNotFound(err):
		return 0, err, nil
	case err != nil:
		return 0, nil, err
	}
	return int64(len(block.RawData())), nil, nil
}

// inspect hashes the file of a block, whatever was found of it before.
func (d *disk) inspect(c cid.Cid, name string, fresh bool) (size int64, why, err error) {
	file, err := os.Open(name)
	if os.IsNotExist(err) {
		return 0, err, nil
	}
	if err != nil {
		return 0, nil, fmt.Errorf("verify %s: %w", c, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, nil, fmt.Errorf("verify %s: %w", c, err)
	}
	if fresh {
		forgetCached(file)
		defer forgetCached(file)
	}
	s := stampOf(info)
	if why := d.compare(c, file); why != nil {
		d.condemn(c, s, why)
		return info.Size(), why, nil
	}
	d.proofs.add(c, s)
	return info.Size(), nil, nil
}
