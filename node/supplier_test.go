package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	ipld "github.com/ipfs/go-ipld-format"
)

// A source whose streams all break off at once, as when its link is cut, has
// failed once, and is asked again soon.
func TestStreamsThatBreakTogetherAreOneFailure(t *testing.T) {
	s := &supplier{}
	for range 8 {
		s.opened()
	}
	for range 8 {
		s.closed(0, time.Second, io.ErrUnexpectedEOF)
	}
	if s.usable(time.Now()) || !s.usable(time.Now().Add(2*firstBackOff)) {
		t.Errorf("it is left alone until %s", time.Until(s.until))
	}
}

// What a source asked for, and what a lie brings, holds however its other streams
// end; the pause after a failure is over when it has answered.
func TestABanOutlivesAnAnswer(t *testing.T) {
	for _, c := range []struct {
		err      error
		pause    time.Duration
		answered bool // the ban is over with an answer
	}{
		{&busyError{"HTTP 429", time.Minute}, time.Minute, false},
		{fmt.Errorf("block: %w", errLied), lieBackOff, false},
		{io.ErrUnexpectedEOF, firstBackOff, true},
	} {
		s, before := &supplier{}, time.Now()
		s.opened()
		s.opened()
		s.closed(0, time.Second, c.err)
		s.closed(1<<20, time.Second, nil)
		soon := before.Add(c.pause - time.Millisecond)
		if c.answered {
			soon = time.Now()
		}
		if s.usable(soon) != c.answered || !s.usable(time.Now().Add(c.pause)) {
			t.Errorf("after %v and an answer it is left alone until %s, banned until %s", c.err, time.Until(s.until), time.Until(s.banned))
		}
	}
}

// A source that answers one stream that it is busy, or with a lie, and the next
// with an error is one that failed for the first time.
func TestAFailureBesideABan(t *testing.T) {
	for _, ban := range []error{&busyError{"HTTP 429", time.Minute}, errLied} {
		s := &supplier{}
		s.opened()
		s.opened()
		s.closed(0, time.Second, ban)
		s.closed(0, time.Second, io.ErrUnexpectedEOF)
		if s.failures != 1 {
			t.Errorf("after %v and a failure: %d failures", ban, s.failures)
		}
	}
}

// When to come again is said in seconds or as a date, and believed within bounds.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                                5 * time.Second,
		"soon":                            5 * time.Second,
		"-7":                              5 * time.Second,
		"0":                               500 * time.Millisecond,
		"7":                               7 * time.Second,
		"300":                             5 * time.Minute,
		"301":                             5 * time.Minute,
		"999999":                          5 * time.Minute,
		"Tue, 03 Feb 2026 04:06:36 GMT":   90 * time.Second,
		"Tuesday, 03-Feb-26 04:06:36 GMT": 90 * time.Second, // as HTTP/1.0 wrote it
		"Tue, 03 Feb 2026 05:05:06 GMT":   5 * time.Minute,
		"Tue, 03 Feb 2026 04:05:06 GMT":   500 * time.Millisecond,
		"Mon, 02 Feb 2026 04:05:06 GMT":   500 * time.Millisecond,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("Retry-After %q is %s, want %s", header, got, want)
		}
	}
}

// Of several sources the one is asked next that had some of the DAG, and of those
// the one with the fewest streams for its speed; one that failed comes last, and
// one that has to be left alone not at all.
func TestTheBestSourceIsAskedNext(t *testing.T) {
	const mega = 1 << 20
	had, failed := note{blocks: 1}, note{blocks: 1, failed: time.Now()}
	for name, c := range map[string]struct {
		first, second *supplier
		notes         [2]note
		want          int // 0 is the first
	}{
		"the order given":             {&supplier{order: 0}, &supplier{order: 1}, [2]note{}, 0},
		"who had some of it":          {&supplier{order: 0}, &supplier{order: 1}, [2]note{{}, had}, 1},
		"who has not failed":          {&supplier{order: 0}, &supplier{order: 1}, [2]note{failed, {}}, 1},
		"the faster":                  {&supplier{order: 0, rate: mega}, &supplier{order: 1, rate: 9 * mega}, [2]note{had, had}, 1},
		"the less busy for its speed": {&supplier{order: 0, rate: mega}, &supplier{order: 1, rate: 2 * mega, streams: 3}, [2]note{had, had}, 0},
		"who need not be left alone":  {&supplier{order: 0, until: time.Now().Add(time.Hour)}, &supplier{order: 1}, [2]note{had, {}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			all := []*supplier{c.first, c.second}
			s := newSupply(nil, time.Minute)
			s.sources = func() []*supplier { return all }
			trail := &trail{supply: s, notes: map[*supplier]note{all[0]: c.notes[0], all[1]: c.notes[1]}}
			if got := trail.best(nil); got != all[c.want] {
				t.Errorf("the other was chosen")
			}
		})
	}
}

// A source that has much to do is not left alone with a large file: of those that
// are as near and of which nothing is known one is asked, one at a time.
func TestABusySourceIsNotLeftAlone(t *testing.T) {
	had, absent := note{blocks: 1}, note{err: errAbsent, failed: time.Now()}
	for name, c := range map[string]struct {
		known *supplier
		notes []note // of the known one and two others
		order int    // of the others
		want  int
	}{
		"nothing is known of the others": {&supplier{streams: maxAlone}, []note{had, {}, {}}, 0, 2},
		"one of them does not have it":   {&supplier{streams: maxAlone}, []note{had, {}, absent}, 0, 1},
		"one of them is being asked":     {&supplier{streams: maxAlone}, []note{had, {}, {asked: time.Now()}}, 0, 0},
		"one of them does not answer":    {&supplier{streams: maxAlone}, []note{had, absent, {asked: time.Now().Add(-2 * hedgeAfter)}}, 0, 0},
		"one did not in all the time":    {&supplier{streams: maxAlone}, []note{had, absent, {asked: time.Now().Add(-time.Minute)}}, 0, 2},
		"one does not, another may":      {&supplier{streams: maxAlone}, []note{had, {}, {asked: time.Now().Add(-2 * hedgeAfter)}}, 0, 1},
		"it has little to do":            {&supplier{streams: maxAlone - 1}, []note{had, {}, {}}, 0, 0},
		"the others come after it":       {&supplier{streams: maxAlone}, []note{had, {}, {}}, 1, 0},
		"it is not known to have it":     {&supplier{streams: maxAlone}, []note{{}, absent, absent}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			all := []*supplier{c.known, {order: c.order}, {order: c.order}}
			s := newSupply(nil, time.Minute)
			s.sources = func() []*supplier { return all }
			trail := &trail{supply: s, notes: map[*supplier]note{}}
			for i, n := range c.notes {
				trail.notes[all[i]] = n
			}
			if got := slices.Index(all, trail.best(map[*supplier]bool{{}: true})); got != 0 && c.want != 0 {
				t.Errorf("the source %d was chosen for what another did not bring", got)
			}
			if got := slices.Index(all, trail.best(nil)); got != c.want {
				t.Errorf("the source %d was chosen; want %d", got, c.want)
			}
		})
	}
}

// Whoever said that it does not have what was only guessed is known not to, and is
// not asked for the next guess in place of the one that has the DAG.
func TestWhoLacksAGuessIsNotAskedAgain(t *testing.T) {
	asked := atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.NotFound(w, r)
	}))
	defer server.Close()
	s := newSupply(func(context.Context) ipld.NodeGetter { return silent{} }, patience)
	known := &supplier{name: "known", peer: "known", streams: maxAlone, base: server.URL, client: server.Client()}
	other := &supplier{name: "other", peer: "other", base: server.URL, client: server.Client()}
	s.sources = func() []*supplier { return []*supplier{known, other} }
	root := absent("a large file")
	trail := s.follow(root)
	defer trail.leave()
	trail.brought(known, 1)
	s.mu.Lock()
	first := s.newJob(trail, batch{span: span{root: root, to: 1}})
	awaited := first.add(wanted{cid: root})
	s.mu.Unlock()
	defer first.fail(errDropped)
	for i, want := range []*supplier{other, known, known} {
		s.mu.Lock()
		j := s.newJob(trail, batch{span: span{root: root, from: int64(i+2) << 20, to: int64(i+3) << 20}})
		j.await(awaited, place{})
		j.guess = true // as join does
		s.mu.Unlock()
		chosen := trail.best(nil)
		if chosen != want {
			t.Errorf("for the guess %d %s was chosen", i, chosen.name)
		}
		if err := j.stream(chosen, false); err != nil {
			t.Errorf("the guess %d: %v", i, err)
		}
		j.fail(errDropped)
	}
	if asked.Load() != 3 {
		t.Errorf("%d requests", asked.Load())
	}
}

// What is known of a source that was not asked to the end.
func TestWhatIsKnownOfWhoWasNotAskedToTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		took   time.Duration
		said   error
		err    error
		failed bool
	}{
		"nothing":                        {hedgeAfter / 2, context.Canceled, nil, false},
		"that it takes its time":         {2 * hedgeAfter, context.Canceled, errSilent, true},
		"that it does not have it":       {hedgeAfter / 2, fmt.Errorf("get: %w", errAbsent), errAbsent, false},
		"that it does not have it, late": {2 * hedgeAfter, fmt.Errorf("get: %w", errAbsent), errAbsent, false},
	} {
		trail, s := &trail{notes: map[*supplier]note{}}, &supplier{}
		trail.asked(s)
		trail.ended(s, c.took, c.said)
		if n := trail.notes[s]; !errors.Is(n.err, c.err) || n.failed.IsZero() == c.failed {
			t.Errorf("%s: %+v", name, n)
		}
	}
}
