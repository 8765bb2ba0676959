package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	ipld "github.com/ipfs/go-ipld-format"
)

// askAnewAfter is how long the exchange may bring nothing until it is asked
// anew, at most a third of what a reader waits; twice as long each time.
const askAnewAfter = 5 * time.Second

// ask asks the node's own exchange, and when that brings nothing for a while
// also in a session of its own: in Bitswap, who gives up takes along what others
// of the same session want just then. So what may be given up for a reader has
// a session of its own from the beginning. When a reader has come for it after
// all, it is asked in the readers' session too, which knows already who has it.
func (r *race) ask() error {
	from, hurried := r.trail.getter, (<-chan struct{})(nil)
	if r.idle {
		from, hurried = func() ipld.NodeGetter { return r.supply.session(r.ctx) }, r.urgent
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	var came atomic.Int64 // blocks
	ended, running := make(chan error), 0
	start := func(from ipld.NodeGetter) {
		running++
		go func() {
			err := r.askOf(ctx, from, &came)
			select {
			case ended <- err:
			case <-ctx.Done():
			}
		}()
	}
	start(from())
	before, wait := came.Load(), min(askAnewAfter, r.supply.timeout/3)
	for late := time.NewTimer(wait); ; late.Reset(wait) {
		select {
		case err := <-ended:
			if running--; err == nil || running == 0 {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-hurried:
			hurried = nil
			start(r.trail.getter())
		case <-late.C:
			if now := came.Load(); now != before {
				before = now
				continue
			}
			r.supply.log.Debug("asking the exchange anew", "for", r.span.query())
			r.supply.metrics.failed(exchangeLabel)
			wait *= 2
			start(r.supply.session(ctx))
		}
	}
}

// askOf asks for what is left and counts the blocks that come.
func (r *race) askOf(ctx context.Context, from ipld.NodeGetter, came *atomic.Int64) error {
	var b batch
	b.wanted = r.needed()
	cids := b.cids()
	if len(cids) == 0 {
		return nil
	}
	begun, missing := time.Now(), len(cids)
	err := getBlocks(ctx, from, cids, func(nd ipld.Node) {
		missing--
		came.Add(1)
		r.arrived(nd, time.Since(begun))
	})
	if err == nil && missing > 0 {
		err = errors.New("it was not delivered")
	}
	return err
}

// arrived takes in a block that the exchange has found or brought, a time after it
// was asked, if it was not taken in when it was stored.
func (j *job) arrived(nd ipld.Node, wait time.Duration) {
	j.supply.mu.Lock()
	f := j.supply.flights[nd.Cid()]
	late := f == nil || f.come
	if !late {
		f.come = true
	}
	j.supply.mu.Unlock()
	if late {
		return
	}
	j.supply.metrics.came(exchangeLabel, len(nd.RawData()), wait)
	j.supply.expect(f, nd)
	j.supply.land(f, nd, nil)
}
