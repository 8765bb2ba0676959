package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"golang.org/x/sync/semaphore"
)

// maxTrails is of how many DAGs it is remembered who had them.
const maxTrails = 1024

// errDropped is why a block that nobody waits for any more does not come.
var errDropped = errors.New("nobody waited for it any more")

// batch is what is asked for in one go.
type batch struct {
	wanted []wanted
	span   span
	// direct says that a reader waits for it now, and idle that no reader has
	// asked for it yet.
	direct, idle bool
	// brief says of what is idle that it is over so soon that it does not wait
	// until readers are done, nor make room for them.
	brief bool
	// relay says that it is for a peer that counts on us to fetch it.
	relay bool
	// ranged says that it is for the reader of a Range.
	ranged bool
}

// wanted is a block and where it lies in the span of its batch.
type wanted struct {
	cid cid.Cid
	place
}

func (b batch) cids() []cid.Cid {
	cids := make([]cid.Cid, len(b.wanted))
	for i, w := range b.wanted {
		cids[i] = w.cid
	}
	return cids
}

// single asks for one block of which no more is known.
func single(c cid.Cid) batch { return batch{wanted: []wanted{{cid: c}}, direct: true} }

// supply brings the blocks of a node, whoever asks: what several need crosses
// the network once. Each retrieval of it is a job; each block under way is a
// flight of one job, and whoever needs the block too joins it.
type supply struct {
	// local finds what is here already, and keep stores what has come; nil
	// means that session looks here first, and stores.
	local func(context.Context, cid.Cid) (ipld.Node, bool)
	keep  func(context.Context, blocks.Block) error
	// foreign says that both are another process's, whose disk is not ours.
	foreign bool
	// session gets blocks by the node's own exchange, if all else fails.
	session func(context.Context) ipld.NodeGetter
	// sources are those that stream; nil means none.
	sources func() []*supplier
	spread  *spread // nil means that there are no peers
	denied  func(cid.Cid) error
	learn   func(ipld.Node)
	// trust is told what was verified and stored by others.
	trust func(cid.Cid)
	// timeout is how long nothing may come before a reader gives up.
	timeout time.Duration
	log     *slog.Logger
	metrics *supplyMetrics
	trails  *lru.Cache[cid.Cid, *trail]
	slots   slots
	// room is for what readers of Ranges wait for and the slots have no place for.
	room *semaphore.Weighted

	mu      sync.Mutex
	flights map[cid.Cid]*flight
	spare   map[*job]bool // those that no reader has asked for yet
	busy    int           // how many jobs are under way for readers
	calm    chan struct{} // nil, or closed when there are none
}

// flight is a block under way. Its fields are guarded by supply.mu.
type flight struct {
	wanted
	job *job
	// onward are other jobs that go on from it.
	onward []onward
	// asked says that somebody needs it, and not only that it is to come.
	asked bool
	come  bool // its block is here, and being stored
	// waiters have room for it. They get it once node or err is set.
	waiters []chan<- *flight
	node    ipld.Node
	err     error
}

func newSupply(session func(context.Context) ipld.NodeGetter, timeout time.Duration) *supply {
	trails, err := lru.New[cid.Cid, *trail](maxTrails)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &supply{
		session: session, learn: func(ipld.Node) {}, trust: func(cid.Cid) {}, denied: func(cid.Cid) error { return nil },
		sources: func() []*supplier { return nil },
		log:     slog.New(slog.DiscardHandler),
		timeout: timeout, metrics: newSupplyMetrics(),
		trails: trails, slots: slots{limit: firstStreams}, room: semaphore.NewWeighted(maxRanged),
		flights: map[cid.Cid]*flight{}, spare: map[*job]bool{},
	}
}

// bring brings the blocks of b as fetcher.begin does. What it began goes on
// until ctx ends, whether or not rest has returned.
func (s *supply) bring(ctx context.Context, t *trail, b batch, deliver func(ipld.Node)) (rest func() error) {
	missing, err := s.atHand(ctx, b.wanted, deliver)
	if err != nil || len(missing) == 0 {
		return func() error { return err }
	}
	if s.spread != nil && !b.relay {
		s.spread.announce(ctx, t.dag)
	}
	results := make(chan *flight, len(missing))
	s.join(ctx, t, b, missing, results)
	return func() error { return await(ctx, results, deliver) }
}

// await delivers as many blocks as there is room for in results.
func await(ctx context.Context, results <-chan *flight, deliver func(ipld.Node)) error {
	var failed error
	for range cap(results) {
		select {
		case f := <-results:
			if f.err != nil {
				failed = f.err
			} else {
				deliver(f.node)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return failed
}

// atHand delivers what is here and returns the rest.
func (s *supply) atHand(ctx context.Context, all []wanted, deliver func(ipld.Node)) (missing []wanted, err error) {
	for _, w := range all {
		if err := s.denied(w.cid); err != nil {
			return nil, err
		}
		if nd, ok := s.look(ctx, w.cid); ok {
			deliver(nd)
		} else {
			missing = append(missing, w)
		}
	}
	return missing, nil
}

func (s *supply) look(ctx context.Context, c cid.Cid) (ipld.Node, bool) {
	if s.local == nil {
		return nil, false
	}
	return s.local(ctx, c)
}

// join has results told of each of the blocks, by flights that are under way
// or by those of a new job.
func (s *supply) join(ctx context.Context, t *trail, b batch, missing []wanted, results chan<- *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !b.idle {
		s.claim(missing)
	}
	var mine *job
	joined := map[*job]bool{}
	for _, w := range missing {
		f := s.flights[w.cid]
		var via *job
		if f != nil {
			via = f.carrier(b.span, w.place)
		}
		if via == nil && mine == nil {
			mine = s.newJob(t, b)
		}
		if f == nil {
			f = mine.add(w)
		} else if via == nil {
			mine.await(f, w.place)
			mine.guess = true
		}
		f.asked = true
		f.waiters = append(f.waiters, results)
		joined[f.job], joined[cmp.Or(via, mine)] = true, true
	}
	for j := range joined {
		if b.direct || !b.idle && s.spare[j] {
			j.hurry()
		}
		j.interest(ctx)
	}
	if mine != nil {
		if !mine.idle || mine.brief {
			mine.place = s.slots.queue()
		}
		go mine.run()
	}
}

// take takes in a block that a source sent, if anybody is to have it, and calls
// came before anybody has. The error says that its bytes are not those of c.
func (s *supply) take(ctx context.Context, c cid.Cid, data []byte, came func()) (taken bool, err error) {
	s.mu.Lock()
	f := s.flights[c]
	s.mu.Unlock()
	if f == nil {
		return false, nil
	}
	sum, err := c.Prefix().Sum(data)
	if err != nil {
		return false, err
	}
	if !sum.Equals(c) {
		return false, errLied
	}
	block, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		return false, err
	}
	if !s.begin(ctx, f) {
		return false, nil
	}
	came()
	nd, err := decode(block)
	s.expect(f, nd)
	defer f.job.disk.begin()()
	// Others wait for it too, whatever becomes of the stream that brought it.
	if err := s.keep(context.WithoutCancel(ctx), block); err != nil { // no fault of the source
		s.land(f, nil, fmt.Errorf("keep what came: %w", err))
		return true, nil
	}
	s.land(f, nd, err)
	return true, nil
}

// byDisk reports whether a block is waited for because the disk is: a look for it
// takes long, or to take in what came for the job that brings it.
func (s *supply) byDisk(c cid.Cid, looks *delays) bool {
	if s.foreign {
		return false
	}
	s.mu.Lock()
	f := s.flights[c]
	s.mu.Unlock()
	return looks.isSlow() || f != nil && f.job.disk.isSlow()
}

// land ends the flight of a block.
func (s *supply) land(f *flight, nd ipld.Node, err error) {
	if nd != nil {
		s.learn(nd)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flights[f.cid] == f {
		f.job.land(f, nd, err)
	}
}
