package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	boxoretrieval "github.com/ipfs/boxo/retrieval"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// errMoved is why what was asked ahead is given up: the reader went elsewhere.
var errMoved = errors.New("the reader went elsewhere")

// errStalled is why a wait for a block ended: nothing arrived for too long.
var errStalled = errors.New("nothing arrived")

// slowDiskError is why a wait for a block ended that may have arrived, and was not
// read or written within that time. It is an errStalled.
type slowDiskError time.Duration

func (e slowDiskError) Error() string {
	return fmt.Sprintf("the disk of the repository has not answered for %s", time.Duration(e).Round(time.Second))
}

func (slowDiskError) Is(target error) bool { return target == errStalled }

// fetcher brings blocks from wherever they are, this disk included.
type fetcher interface {
	// fetch calls deliver with each of the blocks, in the order in which they
	// come, and returns when it has brought all it can. The error is why some
	// are missing, and an ipld.ErrNotFound if nobody was to be asked. It ends
	// promptly with ctx.
	fetch(ctx context.Context, b batch, deliver func(ipld.Node)) error
	// begin is fetch in two steps, the second for the caller to take: of what
	// fills the link that comes first which was begun first.
	begin(ctx context.Context, b batch, deliver func(ipld.Node)) (rest func() error)
	// claim says that a reader is about to fetch all of this: what is under way
	// for nobody yet does not make room for it, but is part of it.
	claim(batches []batch)
	// tell says who was asked so far, for people.
	tell() string
	// byDisk reports whether a block is waited for because the disk is.
	byDisk(c cid.Cid, looks *delays) bool
	// close ends the use of the fetcher.
	close()
}

// follower is a fetcher by way of the trail of a DAG.
type follower struct {
	supply *supply
	trail  *trail
}

func (f follower) fetch(ctx context.Context, b batch, deliver func(ipld.Node)) error {
	return f.begin(ctx, b, deliver)()
}

func (f follower) begin(ctx context.Context, b batch, deliver func(ipld.Node)) (rest func() error) {
	return f.supply.bring(ctx, f.trail, b, deliver)
}

func (f follower) claim(batches []batch) { f.supply.claimAll(batches) }

func (f follower) byDisk(c cid.Cid, looks *delays) bool { return f.supply.byDisk(c, looks) }

func (f follower) tell() string { return f.trail.tell() }
func (f follower) close()       { f.trail.leave() }

// getBlocks brings blocks by what a DAGService offers.
func getBlocks(ctx context.Context, from ipld.NodeGetter, cids []cid.Cid, deliver func(ipld.Node)) error {
	if len(cids) == 1 { // GetMany can't say why one is missing
		nd, err := from.Get(ctx, cids[0])
		if err == nil {
			deliver(nd)
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	results := from.GetMany(ctx, cids)
	for range cids { // not every getter closes its channel
		select {
		case result, ok := <-results:
			switch {
			case !ok:
				return failed
			case result.Err != nil:
				failed = result.Err
			default:
				deliver(result.Node)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return failed
}

// retrieval brings the blocks that one reader needs. What is asked ahead comes
// in the background; what arrived and does not lie on the disk in a file of its
// own is held until it is taken.
type retrieval struct {
	fetcher fetcher
	onDisk  func(cid.Cid) bool
	learn   func(ipld.Node) // sees every block that arrives
	timeout time.Duration
	state   *boxoretrieval.State
	ctx     context.Context
	cancel  context.CancelFunc
	looks   delays // for what is here already
	idle    bool   // no reader has asked for it
	ranged  bool   // the reader is one of a Range

	mu     sync.Mutex
	wants  map[cid.Cid]*want // in flight or held
	ahead  context.Context   // of what was asked ahead and not forgotten
	forget context.CancelCauseFunc
	last   time.Time // a block arrived
	blocks int
	bytes  int64
}

type want struct {
	done chan struct{} // closed when it is over
	keep bool          // hold the node in any case
	// When done is closed either is set, or neither: it lies on the disk.
	node ipld.Node
	err  error
}

// newRetrieval starts a retrieval of something that belongs to dag. It has to
// be closed; ctx ends it too.
func newRetrieval(ctx context.Context, c *content, dag cid.Cid) *retrieval {
	ctx, cancel := context.WithCancel(ctx)
	t := c.supply.follow(dag)
	r := &retrieval{
		fetcher: follower{c.supply, t},
		onDisk:  c.disk.here, learn: c.learn, timeout: c.fetchTimeout,
		state: t.retrievalState(), ctx: ctx, cancel: cancel,
		wants: map[cid.Cid]*want{},
	}
	r.ahead, r.forget = context.WithCancelCause(ctx)
	return r
}

// close ends everything that is under way.
func (r *retrieval) close() {
	r.cancel()
	r.fetcher.close()
}

// ask asks for blocks in the background, for one batch after the other.
func (r *retrieval) ask(batches ...batch) {
	if !r.idle {
		r.fetcher.claim(batches)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []batch
	var wants []map[cid.Cid]*want
	for _, b := range batches {
		if b, w := r.lacks(b); len(w) > 0 {
			missing, wants = append(missing, b), append(wants, w)
		}
	}
	ctx := r.ahead
	go func() {
		for i, b := range missing {
			go r.begin(ctx, b, wants[i])()
		}
	}()
}

// lacks returns what of a batch has not been asked for, and its wants. It needs
// r.mu.
func (r *retrieval) lacks(b batch) (batch, map[cid.Cid]*want) {
	wants := map[cid.Cid]*want{}
	missing := b
	missing.wanted = nil
	for _, w := range b.wanted {
		if _, ok := r.wants[w.cid]; !ok {
			wants[w.cid] = &want{done: make(chan struct{})}
			r.wants[w.cid] = wants[w.cid]
			missing.wanted = append(missing.wanted, w)
		}
	}
	return missing, wants
}

// reset forgets what was asked ahead: the reader has gone elsewhere.
func (r *retrieval) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(errMoved)
	r.ahead, r.forget = context.WithCancelCause(r.ctx)
	r.wants = map[cid.Cid]*want{}
}

// begin begins to fetch a batch; rest ends every want of it.
func (r *retrieval) begin(ctx context.Context, b batch, wants map[cid.Cid]*want) (rest func()) {
	b.direct, b.idle, b.ranged = b.direct && !r.idle, r.idle, r.ranged
	looked := r.looks.begin()
	fetched := r.fetcher.begin(ctx, b, func(nd ipld.Node) {
		if w, ok := wants[nd.Cid()]; ok {
			delete(wants, nd.Cid())
			r.deliver(w, nd)
		}
	})
	looked()
	return func() { r.end(wants, fetched()) }
}

// end ends the wants that a fetch has left.
func (r *retrieval) end(wants map[cid.Cid]*want, err error) {
	if err == nil {
		err = errors.New("it was not delivered")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for c, w := range wants {
		r.drop(c, w)
		w.err = err
		close(w.done)
	}
}

func (r *retrieval) deliver(w *want, nd ipld.Node) {
	r.learn(nd)
	onDisk := r.onDisk(nd.Cid())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
	r.blocks++
	r.bytes += int64(len(nd.RawData()))
	if w.keep || !onDisk {
		w.node = nd
	} else {
		r.drop(nd.Cid(), w)
	}
	close(w.done)
}

// drop lets the next one who needs c ask again. It needs r.mu.
func (r *retrieval) drop(c cid.Cid, w *want) {
	if r.wants[c] == w {
		delete(r.wants, c)
	}
}

// get returns the one block of b when it has come. Without keep it returns nil
// for one that lies on the disk now. The error is errStalled when nothing,
// neither this block nor another, arrived within the time-out.
func (r *retrieval) get(b batch, keep bool) (ipld.Node, error) {
	c := b.wanted[0].cid
	w, asked := r.want(b, keep)
	nd, err := r.wait(c, w)
	if !asked || (nd == nil && !keep && err == nil) {
		return nd, err
	}
	if nd != nil || errors.Is(err, errStalled) || r.ctx.Err() != nil {
		return nd, err
	}
	// It was asked ahead with others and failed or was dropped: alone, it
	// comes or says why not.
	w, _ = r.want(single(c), keep)
	return r.wait(c, w)
}

// want returns the want of the one block of b, and whether it had been asked
// for before.
func (r *retrieval) want(b batch, keep bool) (w *want, asked bool) {
	c := b.wanted[0].cid
	r.mu.Lock()
	defer r.mu.Unlock()
	if w, ok := r.wants[c]; ok {
		w.keep = w.keep || keep
		return w, true
	}
	w = &want{done: make(chan struct{}), keep: keep}
	r.wants[c] = w
	go func() { r.begin(r.ctx, b, map[cid.Cid]*want{c: w})() }()
	return w, false
}

// wait returns what w brings, and forgets it then. For a slow disk it waits as long
// again as for the network.
func (r *retrieval) wait(c cid.Cid, w *want) (ipld.Node, error) {
	begun, l := time.Now(), newLull(r.timeout)
	defer l.Stop()
	for {
		select {
		case <-w.done:
			r.mu.Lock()
			defer r.mu.Unlock()
			r.drop(c, w)
			return w.node, w.err
		case <-r.ctx.Done():
			return nil, r.ctx.Err()
		case <-l.C:
			quiet, disk := l.since(r.lastSince(begun), r.fetcher.byDisk(c, &r.looks))
			switch {
			case quiet >= r.timeout:
				return nil, errStalled
			case quiet+disk >= 2*r.timeout:
				return nil, slowDiskError(disk)
			}
		}
	}
}

// lastSince is when a block arrived last, but not before begun.
func (r *retrieval) lastSince(begun time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last.After(begun) {
		return r.last
	}
	return begun
}

// progress says how far the retrieval got, for an error.
func (r *retrieval) progress() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked, phase := "", "asking the connected peers"
	if told := r.fetcher.tell(); told != "" {
		asked, phase = "; asked were "+told, "waiting for an answer"
	}
	switch r.state.GetPhase() {
	case boxoretrieval.PhaseProviderDiscovery:
		phase = "finding providers"
	case boxoretrieval.PhaseConnecting:
		phase = "connecting to providers"
	case boxoretrieval.PhaseDataRetrieval:
		phase = "transferring"
	}
	if r.blocks > 0 {
		phase = "transferring"
	}
	return fmt.Sprintf("nothing arrived for %s while %s; %d providers were found, %d tried and %d connected; %d blocks with %d bytes had arrived%s",
		r.timeout, phase, r.state.ProvidersFound.Load(), r.state.ProvidersAttempted.Load(), r.state.ProvidersConnected.Load(), r.blocks, r.bytes, asked)
}
