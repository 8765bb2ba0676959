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
