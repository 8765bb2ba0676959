package node

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// grace is how long a stream goes on that nobody is interested in any more.
const grace = time.Second

// job brings one batch, from one source after another or from several at once,
// as long as somebody is interested.
type job struct {
	supply *supply
	trail  *trail
	span   span
	// ctx is that of the session, and the job's own reader keeps it going.
	ctx    context.Context
	cancel context.CancelFunc
	came   chan struct{} // has room for one: a block came
	urgent chan struct{} // closed when a reader waits
	place  chan struct{} // closed when it has its place among those that fill the link
	idle   bool          // it began before a reader asked for it
	brief  bool          // it is idle for a short time only
	relay  bool          // it is for a peer that counts on us
	ranged bool          // it began for the reader of a Range
	leader *supplier     // who fetches it for us too; nil if nobody does
	bytes  atomic.Int64  // that streams brought, without the blocks that nobody wanted
	disk   delays        // of what came for it, and what came with that

	// Guarded by supply.mu.
	flights       map[cid.Cid]*flight
	awaited       map[cid.Cid]wanted // blocks of other jobs' flights
	guess         bool               // nothing is known of it but what it follows
	interested    int
	streams       int // that are open
	hurried       bool
	over          bool
	askedExchange time.Time // for the first time; zero if it was not
	stops         []func() bool
}

// newJob makes a job without flights; run starts it.
func newJob(s *supply, t *trail, sp span) *job {
	ctx, cancel := context.WithCancel(t.hold())
	return &job{
		supply: s, trail: t, span: sp, ctx: ctx, cancel: cancel,
		came: make(chan struct{}, 1), urgent: make(chan struct{}),
		flights: map[cid.Cid]*flight{}, awaited: map[cid.Cid]wanted{},
	}
}

// add makes a flight. It needs supply.mu, like interest, hurry and land.
func (j *job) add(w wanted) *flight {
	f := &flight{wanted: w, job: j}
	j.guess = false
	j.flights[w.cid], j.supply.flights[w.cid] = f, f
	return f
}

// interest keeps the job going until ctx ends, and a little longer if it has a
// stream: a client that asked how large something is comes back for it.
func (j *job) interest(ctx context.Context) {
	j.interested++
	j.stops = append(j.stops, context.AfterFunc(ctx, func() {
		j.supply.mu.Lock()
		defer j.supply.mu.Unlock()
		j.interested--
		if j.streams == 0 || errors.Is(context.Cause(ctx), errMoved) {
			j.endUnlessWanted()
			return
		}
		time.AfterFunc(grace, func() {
			j.supply.mu.Lock()
			defer j.supply.mu.Unlock()
			j.endUnlessWanted()
		})
	}))
}

func (j *job) endUnlessWanted() {
	if j.interested == 0 {
		j.end(errDropped)
	}
}

// hurry lets the job pass by those that fill the link.
func (j *job) hurry() {
	if j.supply.spare[j] {
		delete(j.supply.spare, j)
		j.supply.busy++
	}
	if !j.hurried {
		j.hurried = true
		close(j.urgent)
	}
}

func (j *job) land(f *flight, nd ipld.Node, err error) {
	delete(j.flights, f.cid)
	delete(j.supply.flights, f.cid)
	f.node, f.err = nd, err
	for _, to := range f.onward {
		delete(to.job.awaited, f.cid)
	}
	for _, w := range f.waiters {
		w <- f
	}
	select {
	case j.came <- struct{}{}:
	default:
	}
}

// end ends the job, and every flight that it still has with err. It needs
// supply.mu.
func (j *job) end(err error) {
	if j.over {
		return
	}
	j.over = true
	j.supply.ended(j)
	for _, f := range j.flights {
		j.land(f, nil, err)
	}
	for _, stop := range j.stops {
		stop()
	}
	j.cancel()
	j.trail.leave()
}

// fail is end for those without the lock.
func (j *job) fail(err error) {
	j.supply.mu.Lock()
	defer j.supply.mu.Unlock()
	j.end(err)
}

// asking notes that the exchange is asked.
func (j *job) asking() {
	j.supply.mu.Lock()
	defer j.supply.mu.Unlock()
	if j.askedExchange.IsZero() {
		j.askedExchange = time.Now()
	}
}

// done ends the job if nobody needs more of it, and nothing of it is being stored.
func (j *job) done() bool {
	j.supply.mu.Lock()
	defer j.supply.mu.Unlock()
	for _, f := range j.flights {
		if f.asked || f.come {
			return false
		}
	}
	j.end(errDropped)
	return true
}

// needed returns what somebody needs and is not here, in its order in the file:
// who sends single blocks sends them in the order in which they are asked for.
func (j *job) needed() []wanted {
	j.supply.mu.Lock()
	defer j.supply.mu.Unlock()
	var needed []wanted
	for _, f := range j.flights {
		if f.asked && !f.come {
			needed = append(needed, f.wanted)
		}
	}
	slices.SortFunc(needed, func(a, b wanted) int { return cmp.Compare(a.start, b.start) })
	return needed
}

// storing reports whether a block of the job is here, and on its way to the disk.
func (j *job) storing() bool {
	j.supply.mu.Lock()
	defer j.supply.mu.Unlock()
	for _, f := range j.flights {
		if f.come {
			return true
		}
	}
	return false
}

// rest returns the part of the span that has not come, and what of it is known.
func (j *job) rest() (span, []wanted) {
	j.supply.mu.Lock()
	defer j.supply.mu.Unlock()
	return j.lacks()
}

// lacks is rest for those with supply.mu.
func (j *job) lacks() (span, []wanted) {
	var all []wanted
	for _, f := range j.flights {
		all = append(all, f.wanted)
	}
	for _, w := range j.awaited {
		all = append(all, w)
	}
	return j.span.narrow(all), all
}

// open opens a stream, which has to be closed, and returns what to ask for as rest
// does: nothing if all is being stored, for nobody would go on from it any more.
func (j *job) open() (span, []wanted) {
	j.supply.mu.Lock()
	defer j.supply.mu.Unlock()
	j.streams++
	if j.isHere() {
		return j.span, nil
	}
	return j.lacks()
}

func (j *job) close() {
	j.supply.mu.Lock()
	defer j.supply.mu.Unlock()
	j.streams--
}

// isHere reports whether each block that the job waits for is being stored. It
// needs supply.mu.
func (j *job) isHere() bool {
	for _, f := range j.flights {
		if !f.come {
			return false
		}
	}
	for c := range j.awaited {
		if f := j.supply.flights[c]; f != nil && !f.come {
			return false
		}
	}
	return true
}

// leadsTo returns what a stream of the job brings after a block: only a stream
// is asked for more than somebody needs.
func (j *job) leadsTo(nd ipld.Node, at place) []wanted {
	j.supply.mu.Lock()
	streams := j.streams
	j.supply.mu.Unlock()
	if streams == 0 {
		return nil
	}
	var missing []wanted
	for _, w := range j.span.below(nd, at) {
		if _, here := j.supply.look(j.ctx, w.cid); !here && j.supply.denied(w.cid) == nil {
			missing = append(missing, w)
		}
	}
	return missing
}

// settle ends the flights whose blocks came between the look for them and the
// start of the job.
func (j *job) settle() {
	for _, w := range j.needed() {
		nd, ok := j.supply.look(j.ctx, w.cid)
		if !ok {
			continue
		}
		j.supply.mu.Lock()
		if f := j.flights[w.cid]; f != nil {
			j.land(f, nd, nil)
		}
		j.supply.mu.Unlock()
	}
}
