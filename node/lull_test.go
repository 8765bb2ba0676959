package node

import (
	"testing"
	"time"
)

// Time in which this process did not run is no silence of anybody's: a tick that
// comes late tells how long that was.
func TestLull(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	type look struct{ now, last, quiet time.Duration } // ticks are due each second
	for name, looks := range map[string][]look{
		"it runs":                       {{1, 0, 1}, {2, 0, 2}, {3, 0, 3}},
		"something comes":               {{1, 0, 1}, {3, 2, 0}, {4, 2, 1}},
		"it is stopped":                 {{1, 0, 1}, {10, 0, 2}, {11, 0, 3}},
		"it is stopped twice":           {{1, 0, 1}, {10, 0, 2}, {11, 0, 3}, {20, 0, 4}},
		"something came, and it stops":  {{1, 0, 1}, {10, 1, 1}, {11, 1, 2}},
		"something comes after a stop":  {{1, 0, 1}, {10, 9, 0}, {11, 9, 1}, {12, 9, 2}},
		"and it is stopped after that":  {{1, 0, 1}, {10, 9, 0}, {20, 9, 1}},
		"something came before it runs": {{1, -2, 3}, {2, -2, 4}},
	} {
		l := &lull{last: start, due: at(time.Second)}
		for _, look := range looks {
			now := at(look.now * time.Second)
			got := l.at(now, at(look.last*time.Second))
			// What came after the tick was due came to a process that ran.
			if got < look.quiet*time.Second || got > (look.quiet+1)*time.Second {
				t.Errorf("%s: after %ds quiet for %s, want %ds", name, look.now, got, look.quiet)
			}
			l.due = now.Add(time.Second)
		}
	}
}

// The ticks come when the limit may be over, and in between.
func TestLullTicks(t *testing.T) {
	for _, limit := range []time.Duration{10 * time.Millisecond, lullStep + 10*time.Millisecond} {
		l, begun := newLull(limit), time.Now()
		for range l.C {
			if l.since(begun) >= limit {
				break
			}
		}
		if took := time.Since(begun); took < limit {
			t.Errorf("over after %s, want %s", took, limit)
		}
		l.Stop()
	}
}
