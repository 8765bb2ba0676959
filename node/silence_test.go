package node

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	ipld "github.com/ipfs/go-ipld-format"
)

// What a gateway said holds while it is asked again, and not for longer than it may
// take to say so.
func TestWhatIsKnownOfASilentGateway(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for name, c := range map[string]struct {
		silence
		answers, known bool
	}{
		"not asked":                       {},
		"asked just now":                  {silence{asked: time.Now()}, false, false},
		"asked for a while":               {silence{asked: ago(2 * hedgeAfter)}, false, true},
		"it answered":                     {silence{asked: ago(time.Minute), told: ago(time.Minute), answered: true}, true, true},
		"it did not":                      {silence{asked: ago(time.Minute), told: ago(time.Second)}, false, true},
		"it answered, asked again now":    {silence{asked: time.Now().Add(time.Minute), told: ago(time.Minute), answered: true}, true, true},
		"it answered, and no longer does": {silence{asked: ago(2 * hedgeAfter), told: ago(time.Minute), answered: true}, false, true},
		"it did not, and was asked anew":  {silence{asked: time.Now().Add(time.Minute), told: ago(time.Minute)}, false, true},
		"it did not answer, and does now": {silence{asked: ago(time.Minute), told: ago(time.Minute - 1), answered: true}, true, true},
	} {
		if answers, known := c.silence.answers(); answers != c.answers || known != c.known {
			t.Errorf("%s: answers %v, known %v; want %v, %v", name, answers, known, c.answers, c.known)
		}
	}
}

// Whoever waited for a gateway hears how long it was silent, though the asking ends
// with the waiting.
func TestAskingASilentGatewayEnds(t *testing.T) {
	long, now, before := time.Now().Add(-2*hedgeAfter), time.Now().Add(time.Minute), time.Now().Add(-time.Minute)
	for name, c := range map[string]struct {
		silence
		answered, abandoned bool
		answers, known      bool
	}{
		"nobody waits any more":               {silence{asked: long}, false, true, false, true},
		"nobody waits any more, and too soon": {silence{asked: now}, false, true, false, false},
		"too soon, and it had answered":       {silence{asked: now, told: before, answered: true}, false, true, true, true},
		"it had answered, and does not":       {silence{asked: long, told: before, answered: true}, false, true, false, true},
		"it refuses":                          {silence{asked: now}, false, false, false, true},
		"it answers":                          {silence{asked: long}, true, false, true, true},
		"it answers late":                     {silence{asked: long}, true, true, true, true},
		"it has sent something":               {silence{}, false, false, false, false},
	} {
		if answers, known := c.ended(c.answered, c.abandoned).answers(); answers != c.answers || known != c.known {
			t.Errorf("%s: answers %v, known %v; want %v, %v", name, answers, known, c.answers, c.known)
		}
	}
}

// Askings of one gateway overlap, as they are begun anew before they end: the one
// that is given up does not lose what the next finds out.
func TestOverlappingAskings(t *testing.T) {
	asked, release := atomic.Int64{}, make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			<-r.Context().Done()
			return
		}
		<-release
	}))
	defer server.Close()
	s := newSupply(func(context.Context) ipld.NodeGetter { return silent{} }, patience)
	gateway := &supplier{name: "gateway", base: server.URL, client: server.Client(), prober: server.Client()}
	trail := s.follow(absent("an image"))
	defer trail.leave()
	probe := func() (j *job, ended chan struct{}) {
		s.mu.Lock()
		j = s.newJob(trail, batch{span: span{root: trail.dag, to: 1}})
		s.mu.Unlock()
		before := asked.Load()
		ended = make(chan struct{})
		go func() {
			defer close(ended)
			(&watch{source: gateway, job: j}).probe()
		}()
		eventually(t, "the gateway is asked", func() bool { return asked.Load() > before })
		return j, ended
	}
	first, firstEnded := probe()
	trail.note(gateway, func(n *note) { n.silence.asked = n.silence.asked.Add(-2 * doubt) }) // so much time passes
	second, secondEnded := probe()
	defer second.fail(errDropped)
	first.fail(errDropped) // nobody waits for it any more
	<-firstEnded
	close(release)
	<-secondEnded
	trail.note(gateway, func(n *note) {
		if answers, known := n.silence.answers(); !answers || !known {
			t.Errorf("it has answered: answers %v, known %v", answers, known)
		}
	})
}
