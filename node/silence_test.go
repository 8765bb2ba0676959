package node

import (
	"testing"
	"time"
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
