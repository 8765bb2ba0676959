package node

import (
	"errors"
	"fmt"
	"time"

	ipld "github.com/ipfs/go-ipld-format"
)

const (
	// hedgeAfter is how long the first source may take for its first bytes
	// until another is asked for the same.
	hedgeAfter = time.Second
	// slowAfter is how long a job may then do with less than minProgress bytes.
	slowAfter   = 3 * time.Second
	minProgress = 96 << 10
	// maxQuiet is how many times slowAfter a source that is busy with others
	// may let a job wait.
	maxQuiet = 3
	// maxRacing is how many sources are asked for the same at once.
	maxRacing = 3
	// retryEvery is the pause before those are asked again that all failed.
	retryEvery = time.Second
)

// race is a job's asking of sources.
type race struct {
	*job
	tried map[*supplier]bool
	// nameless are those that have no such path: they may have its root.
	nameless map[*supplier]bool
	running  int
	ended    chan attempt
	// exchange says that the node's own exchange is being asked, and refused
	// why it ended.
	exchange bool
	refused  error
	hopeful  bool // some source may have it later

	seen, seenAll int64 // the progress when a block came last, or when it was last looked at
	quiet         int   // times in a row that the job had brought little
}

// attempt is how asking one source ended; source is nil for the exchange.
type attempt struct {
	source *supplier
	err    error
}

// run does the job.
func (j *job) run() {
	defer j.enter()()
	j.settle()
	if j.supply.spread != nil && !j.relay {
		j.leader = j.supply.spread.leader(j.trail.dag, j.span)
	}
	r := &race{job: j, tried: map[*supplier]bool{}, nameless: map[*supplier]bool{}, ended: make(chan attempt)}
	j.fail(r.run())
}

// enter waits until the job may ask; leave says that it is done.
func (j *job) enter() (leave func()) {
	if j.idle && !j.brief {
		j.supply.rest(j)
		return func() {}
	}
	if j.supply.slots.take(j.place, j.urgent, j.ctx.Done()) {
		begun := time.Now()
		return func() { j.supply.slots.give(time.Since(begun)) }
	}
	if j.ranged && j.supply.room.Acquire(j.ctx, 1) == nil {
		return func() { j.supply.room.Release(1) }
	}
	return func() {}
}

// run returns why what is still missing does not come.
func (r *race) run() error {
	r.next()
	late := time.NewTimer(r.patience(hedgeAfter))
	defer late.Stop()
	for r.streaming() || !r.done() {
		if r.running == 0 && !r.storing() {
			if err := r.again(); err != nil {
				return err
			}
		}
		select {
		case <-r.ctx.Done():
			return errDropped
		case <-r.came:
			r.seen, r.seenAll = r.progress()
			late.Reset(r.patience(slowAfter))
		case a := <-r.ended:
			r.settled(a)
		case <-late.C:
			r.hedge()
			late.Reset(r.patience(slowAfter))
		}
	}
	return errDropped
}

// streaming reports whether a stream is open, which may bring what nobody has
// asked for yet.
func (r *race) streaming() bool {
	return r.running > 1 || r.running == 1 && !r.exchange
}

// patience is how long the sources may take, given how long one may that has it:
// in any case less than a reader waits, who is to hear of the next one's bytes.
func (r *race) patience(usual time.Duration) time.Duration {
	if r.leader != nil && r.tried[r.leader] && r.running == 1 {
		usual = relayAfter
	}
	return min(usual, r.supply.timeout/3)
}

// next asks one more source, or the exchange when there is none.
func (r *race) next() {
	if s := r.best(); s != nil && r.running < maxRacing {
		r.tried[s] = true
		r.seenAll += s.received.Load()
		single := r.nameless[s]
		r.start(s, func() error { return r.stream(s, single) })
		return
	}
	if !r.exchange && r.refused == nil {
		r.exchange = true
		r.asking()
		r.supply.log.Debug("asking the exchange", "for", r.span.query())
		r.start(nil, r.ask)
	}
}

// best returns the source to ask next, first the one that fetches it for us.
func (r *race) best() *supplier {
	if r.leader != nil && !r.tried[r.leader] && r.leader.usable(time.Now()) {
		return r.leader
	}
	return r.trail.best(r.tried)
}

func (r *race) start(s *supplier, do func() error) {
	r.running++
	go func() {
		err := do()
		select {
		case r.ended <- attempt{s, err}:
		case <-r.ctx.Done():
		}
	}()
}

// hedge asks another when those that are being asked bring little. While they
// bring much to others the job waits for its turn, but not for long. That the
// disk is slow is no fault of theirs.
func (r *race) hedge() {
	seen, all := r.progress()
	r.quiet++
	if seen-r.seen >= minProgress || r.storing() {
		r.quiet = 0
	}
	if r.quiet > 0 && (all-r.seenAll < minProgress || r.quiet > maxQuiet) && len(r.needed()) > 0 {
		r.next()
	}
	r.seen, r.seenAll = seen, all
}

// progress is how many bytes have come for the job, and from its sources for
// anybody.
func (r *race) progress() (job, all int64) {
	for s := range r.tried {
		all += s.received.Load()
	}
	return r.bytes.Load(), all
}

// settled goes on after an attempt.
func (r *race) settled(a attempt) {
	r.running--
	if a.source == nil {
		r.exchange, r.refused = false, a.err
		if a.err != nil && !ipld.IsNotFound(a.err) {
			r.supply.metrics.failed(exchangeLabel)
		}
	} else {
		if a.source == r.leader && errors.Is(a.err, errAbsent) {
			r.supply.spread.left(r.trail.dag, a.source.peer)
		}
		if errors.Is(a.err, errIncapable) || errors.Is(a.err, errExcess) || r.isNameless(a) {
			delete(r.tried, a.source) // it may know single blocks
		}
		if a.err != nil && !errors.Is(a.err, errAbsent) {
			r.hopeful = true
		}
	}
	if !r.streaming() && len(r.needed()) > 0 {
		r.next()
	}
}

// isNameless reports whether a gateway has said, for the first time, that it does
// not have a path. A peer would have said that of the root.
func (r *race) isNameless(a attempt) bool {
	if !errors.Is(a.err, errAbsent) || len(r.span.names) == 0 || a.source.peer != "" || r.nameless[a.source] {
		return false
	}
	r.nameless[a.source] = true
	return true
}

// again waits until there is somebody to ask once more, and returns an error
// if there never will be.
func (r *race) again() error {
	if r.refused != nil && !r.hopeful && !r.waiting() {
		if r.trail.tell() == "" {
			return r.refused
		}
		return fmt.Errorf("%w: %w", errAbsent, r.refused)
	}
	select {
	case <-time.After(retryEvery):
	case <-r.ctx.Done():
		return errDropped
	}
	clear(r.tried)
	clear(r.nameless)
	r.refused, r.hopeful = nil, false
	r.next()
	return nil
}

// waiting reports whether there is a source that may not be asked just now.
func (r *race) waiting() bool {
	for _, s := range r.supply.sources() {
		if !r.tried[s] {
			return true
		}
	}
	return false
}
