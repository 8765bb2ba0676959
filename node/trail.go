package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	boxoretrieval "github.com/ipfs/boxo/retrieval"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

const (
	// maxNotes bounds the sources remembered of one DAG.
	maxNotes = 64
	// doubt is how long a source that failed for a DAG is asked after others.
	doubt = 10 * time.Second
	// linger is how long the session of a DAG outlives its last reader: a client
	// asks for one part of an image after the other, and a new session has to
	// find out again who has it.
	linger = time.Second
	// maxAlone is how many streams a source has before it is found out whether
	// another has the DAG too.
	maxAlone = 2
)

// trail is what all readers of one DAG share: who had some of it and who did
// not, and the session of the node's exchange, while there are readers and for
// linger after. It is safe for concurrent use.
type trail struct {
	supply *supply
	dag    cid.Cid

	mu      sync.Mutex
	readers int
	ctx     context.Context // of the session
	cancel  context.CancelFunc
	left    *time.Timer // nil, or it ends the session that no reader has
	state   *boxoretrieval.State
	session ipld.NodeGetter
	notes   map[*supplier]note
}

// note is how a source did for a DAG.
type note struct {
	asked  time.Time
	blocks int
	failed time.Time
	err    error // its last, even if it did better since

	silence silence
}

// follow returns the trail of a DAG for one more reader, who has to leave it.
func (s *supply) follow(dag cid.Cid) *trail {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.trails.Get(dag)
	if !ok {
		t = &trail{supply: s, dag: dag, notes: map[*supplier]note{}}
		s.trails.Add(dag, t)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enter()
	return t
}

// enter makes one more reader, with a new session if the last one's has ended. It
// needs t.mu.
func (t *trail) enter() {
	if t.readers++; t.readers == 1 && (t.left == nil || !t.left.Stop()) {
		ctx, cancel := context.WithCancel(context.Background())
		t.ctx, t.state = boxoretrieval.ContextWithState(ctx)
		t.cancel, t.session = cancel, nil
	}
}

// leave ends the session a while after the last reader left.
func (t *trail) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.readers--; t.readers == 0 {
		t.left = time.AfterFunc(linger, t.cancel)
	}
}

// hold makes one more reader and returns the context of the session. What a reader
// began may come to it when that one has left.
func (t *trail) hold() context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enter()
	return t.ctx
}

// getter is the session, begun when it is needed first.
func (t *trail) getter() ipld.NodeGetter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.session == nil {
		t.session = t.supply.session(t.ctx)
	}
	return t.session
}

func (t *trail) retrievalState() *boxoretrieval.State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

// asked notes that a source is being asked.
func (t *trail) asked(s *supplier) { t.note(s, func(n *note) { n.asked = time.Now() }) }

// brought notes blocks that came from a source.
func (t *trail) brought(s *supplier, blocks int) {
	t.note(s, func(n *note) { n.blocks += blocks; n.failed = time.Time{} })
}

// failed notes that a source did not do what was asked.
func (t *trail) failed(s *supplier, err error) {
	t.note(s, func(n *note) { n.failed, n.err = time.Now(), err })
}

// ended notes that a source was not asked to the end, whose answer was not needed
// any more: if it had not begun, nothing is known, or that it took its time.
func (t *trail) ended(s *supplier, took time.Duration, said error) {
	t.note(s, func(n *note) {
		if n.blocks > 0 || n.err != nil || s.prober != nil {
			return
		}
		if errors.Is(said, errAbsent) {
			n.err = errAbsent // it has answered
			return
		}
		if n.asked = (time.Time{}); took > hedgeAfter {
			n.failed, n.err = time.Now(), errSilent
		}
	})
}

func (t *trail) note(s *supplier, change func(*note)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noted(s, change)
}

// noted is note for those with t.mu.
func (t *trail) noted(s *supplier, change func(*note)) {
	n, known := t.notes[s]
	if !known && len(t.notes) >= maxNotes {
		for other := range t.notes {
			delete(t.notes, other)
			break
		}
	}
	change(&n)
	t.notes[s] = n
}

// best returns the source to ask next: one that had some of the DAG before one
// that is not known to, the less busy and then the faster first, and one that
// failed lately last. It returns nil if none is left that may be asked now.
func (t *trail) best(tried map[*supplier]bool) *supplier {
	now := time.Now()
	all := slices.DeleteFunc(slices.Clone(t.supply.sources()), func(s *supplier) bool { return tried[s] || !s.usable(now) })
	if len(all) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	compare := func(a, b *supplier) int {
		if d := t.grade(a, now) - t.grade(b, now); d != 0 {
			return d
		}
		return a.compare(b)
	}
	chosen := slices.MinFunc(all, compare)
	if len(tried) > 0 {
		return chosen // there is no time to find out who else has it
	}
	if other := t.untried(chosen, all, now); other != nil {
		t.noted(other, func(n *note) { n.asked = now })
		return other
	}
	return chosen
}

// untried returns a source to find out about, one at a time, while the one that is
// known to have some of the DAG has much to do: several are to share a large file.
// It has to be as good as that one but for what is known of it. It needs t.mu.
func (t *trail) untried(known *supplier, all []*supplier, now time.Time) *supplier {
	if streams, _ := known.load(); streams < maxAlone || t.grade(known, now) != 0 {
		return nil
	}
	var other *supplier
	for _, s := range all {
		switch n := t.notes[s]; {
		case n.blocks > 0 || n.err != nil || s.order != known.order:
		case now.Sub(n.asked) < hedgeAfter:
			return nil
		case now.Sub(n.asked) < t.supply.timeout: // it is still being waited for
		default:
			other = s
		}
	}
	return other
}

func (t *trail) grade(s *supplier, now time.Time) int {
	n := t.notes[s]
	switch {
	case now.Sub(n.failed) < doubt:
		return 2
	case n.blocks > 0:
		return 0
	}
	return 1
}

// tell says which sources were asked and how each did.
func (t *trail) tell() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var told []string
	for s, n := range t.notes {
		how := fmt.Sprintf("%d blocks", n.blocks)
		switch {
		case n.isSilent():
			how = n.silence.String()
		case n.err != nil:
			how += ", last error: " + n.err.Error()
		case n.blocks == 0:
			how = "no answer yet"
		}
		told = append(told, s.name+" ("+how+")")
	}
	slices.Sort(told)
	if len(told) > maxTold {
		told = append(told[:maxTold], fmt.Sprintf("and %d more", len(told)-maxTold))
	}
	return strings.Join(told, "; ")
}

// maxTold is how many sources an error names.
const maxTold = 8
