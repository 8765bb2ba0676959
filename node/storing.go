package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipfs/kubo/repo"
)

// toldBlocks are the blocks as the services of a node of ours write them, who get
// them from the exchange or make them: what is written is had by the readers who
// wait for it.
type toldBlocks struct {
	blockstore.Blockstore
	content *atomic.Pointer[content]
}

func withReaders(bs blockstore.Blockstore, r repo.Repo) blockstore.Blockstore {
	if ours, ok := r.(*overlaidRepo); ok {
		return toldBlocks{bs, &ours.content}
	}
	return bs
}

// Put implements blockstore.Blockstore, as does PutMany.
func (t toldBlocks) Put(ctx context.Context, b blocks.Block) error {
	ctx, stored := t.storing(ctx, []blocks.Block{b})
	return stored(t.Blockstore.Put(ctx, b))
}

func (t toldBlocks) PutMany(ctx context.Context, all []blocks.Block) error {
	ctx, stored := t.storing(ctx, all)
	return stored(t.Blockstore.PutMany(ctx, all))
}

// storing returns the context to write by, for readers wait whatever becomes of
// who writes, and what passes on how that ended.
func (t toldBlocks) storing(ctx context.Context, all []blocks.Block) (context.Context, func(error) error) {
	c := t.content.Load()
	if c == nil {
		return ctx, func(err error) error { return err }
	}
	return context.WithoutCancel(ctx), c.supply.storing(all)
}

// arrival is a block of a flight that no stream has brought.
type arrival struct {
	*flight
	size int
	node ipld.Node
	err  error // it can't be decoded
	wait time.Duration
}

// storing notes that blocks are being stored: the exchange has brought them, or
// somebody adds them. While that takes, however slow the disk is, nobody else is
// asked for them; the caller says by stored how it ended.
func (s *supply) storing(all []blocks.Block) (stored func(error) error) {
	var mine []arrival
	kept := map[*job]func(){}
	for _, b := range all {
		f, wait := s.comes(b)
		if f == nil {
			continue
		}
		if kept[f.job] == nil {
			kept[f.job] = f.job.disk.begin()
		}
		nd, err := decode(b)
		s.expect(f, nd)
		mine = append(mine, arrival{f, len(b.RawData()), nd, err, wait})
	}
	return func(err error) error {
		for _, a := range mine {
			s.stored(a, err)
		}
		for _, end := range kept {
			end()
		}
		return err
	}
}

// comes returns the flight of a block, nil if there is none or it has come already,
// and how long ago the exchange was asked: 0 if it was not.
func (s *supply) comes(b blocks.Block) (*flight, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flights[b.Cid()]
	if f == nil || f.come {
		return nil, 0
	}
	f.come = true
	if f.job.askedExchange.IsZero() {
		return f, 0
	}
	return f, time.Since(f.job.askedExchange)
}

// stored ends the flight of a block, which counts also if nobody waits any more.
func (s *supply) stored(a arrival, err error) {
	if err != nil {
		s.land(a.flight, nil, fmt.Errorf("keep what came: %w", err))
		return
	}
	s.trust(a.cid)
	if a.wait > 0 {
		s.metrics.came(exchangeLabel, a.size, a.wait)
	}
	s.land(a.flight, a.node, a.err)
}
