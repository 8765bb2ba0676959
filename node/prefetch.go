package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	// prefetchLimit is how long what nobody has opened goes on coming.
	prefetchLimit = 10 * time.Second
	// maxPrefetching is how many parts come ahead of their readers at once, of
	// which one of more than smallPart counts twice: on a slow link more would
	// keep from a reader what it opens.
	maxPrefetching = 8
	smallPart      = 512 << 10
	// maxPrefetch is how many parts are waited for; more are not begun.
	maxPrefetch = 512
)

// prefetches are the parts that are fetched before anybody has opened them. It
// is safe for concurrent use.
type prefetches struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	room   *semaphore.Weighted
	limit  time.Duration
	group  sync.WaitGroup

	mu      sync.Mutex
	pending map[image.Part]bool
	last    chan struct{} // closed when the one that began last has its room
	over    bool
}

func newPrefetches() *prefetches {
	p := &prefetches{room: semaphore.NewWeighted(maxPrefetching), last: make(chan struct{}), limit: prefetchLimit, pending: map[image.Part]bool{}}
	close(p.last)
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// stop ends all of them, and returns when they have ended.
func (p *prefetches) stop() {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.cancel(errMoved)
	p.group.Wait()
}

// begin does one in the background, unless it is under way.
func (p *prefetches) begin(part image.Part, do func(context.Context)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.pending[part] || len(p.pending) >= maxPrefetch {
		return
	}
	p.pending[part] = true
	before, mine := p.last, make(chan struct{})
	p.last = mine
	p.group.Go(func() { p.run(part, do, before, mine) })
}

// run does one when before is closed and there is room, and closes mine then.
func (p *prefetches) run(part image.Part, do func(context.Context), before <-chan struct{}, mine chan<- struct{}) {
	defer p.forget(part)
	ctx, cancel := context.WithTimeoutCause(p.ctx, p.limit, errMoved)
	defer cancel()
	if n := places(part); p.enter(ctx, n, before, mine) {
		do(ctx)
		p.room.Release(n)
	}
}

// enter waits for the turn and for room, which the caller gives back if true is
// returned.
func (p *prefetches) enter(ctx context.Context, places int64, before <-chan struct{}, mine chan<- struct{}) bool {
	defer close(mine)
	select {
	case <-before:
	case <-ctx.Done():
	}
	return p.room.Acquire(ctx, places) == nil
}

// places is how much of the room a part takes.
func places(part image.Part) int64 {
	if part.To-part.From > smallPart {
		return 2
	}
	return 1
}

func (p *prefetches) forget(part image.Part) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, part)
}

var _ image.Prefetcher = (*Node)(nil)

// Prefetch implements image.Prefetcher. What comes stays on the disk; a node of
// another process, which keeps what it fetches, is left alone.
func (c *content) Prefetch(parts []image.Part) {
	if c.supply.keep == nil {
		return
	}
	for _, part := range parts {
		c.prefetches.begin(part, func(ctx context.Context) {
			for errors.Is(c.prefetch(ctx, part), errYielded) && ctx.Err() == nil {
				c.supply.log.Debug("a reader comes first", "path", part.Path)
			}
		})
	}
}

// prefetch brings a part in the way of a reader for whom nobody waits.
func (c *content) prefetch(ctx context.Context, part image.Part) error {
	names, err := splitPath(part.Path)
	if err != nil {
		return err
	}
	f := newFile(image.Of(ctx, part.Image), c, part.Path)
	f.idle, f.begin = true, image.First{From: part.From, To: part.To}
	defer func() { _ = f.Close() }()
	if err := f.open(names); err != nil {
		return err
	}
	from := part.From
	for range maxDepth { // each time a level of the file deeper
		batches, to := f.collect(from, part.To)
		fetcher := f.retrieve().fetcher
		group, ctx := errgroup.WithContext(f.ctx)
		group.SetLimit(maxPrefetching / 2)
		for _, b := range batches {
			b.idle = true
			group.Go(func() error { return fetcher.fetch(ctx, b, c.learn) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if from = to; from >= min(part.To, f.root.size) {
			break
		}
	}
	return nil
}
