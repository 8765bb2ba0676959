package node

import (
	"testing"
	"time"
)

// Time in which this process did not run is no silence of anybody's: a tick that
// comes late tells how long that was. Nor is time that the disk took.
func TestLull(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	type look struct { // in seconds; a tick is due a second after the one before
		now, last   float64
		byDisk      bool
		quiet, disk float64
	}
	for name, looks := range map[string][]look{
		"it runs":                       {{now: 1, quiet: 1}, {now: 2, quiet: 2}, {now: 3, quiet: 3}},
		"it is busy":                    {{now: 1.25, quiet: 1.25}, {now: 2.5, quiet: 2.5}, {now: 3.75, quiet: 3.75}},
		"something comes":               {{now: 1, quiet: 1}, {now: 2, last: 1.5, quiet: 0.5}, {now: 3, last: 1.5, quiet: 1.5}},
		"it is stopped":                 {{now: 1, quiet: 1}, {now: 10, quiet: 2}, {now: 11, quiet: 3}},
		"it is stopped twice":           {{now: 1, quiet: 1}, {now: 10, quiet: 2}, {now: 11, quiet: 3}, {now: 20, quiet: 4}},
		"something came, and it stops":  {{now: 1, quiet: 1}, {now: 10, last: 1.5, quiet: 0.5}, {now: 11, last: 1.5, quiet: 1.5}},
		"something comes after a stop":  {{now: 1, quiet: 1}, {now: 10, last: 9.75, quiet: 0.25}, {now: 11, last: 9.75, quiet: 1.25}},
		"and another time":              {{now: 1, quiet: 1}, {now: 10, quiet: 2}, {now: 11, last: 10.5, quiet: 0.5}},
		"and it is stopped after that":  {{now: 1, quiet: 1}, {now: 10, last: 9.75, quiet: 0.25}, {now: 20, last: 9.75, quiet: 1.25}},
		"something came before it runs": {{now: 1, last: -2, quiet: 3}, {now: 2, last: -2, quiet: 4}},
		"the disk is slow":              {{now: 1, quiet: 1}, {now: 2, byDisk: true, quiet: 1, disk: 1}, {now: 3, byDisk: true, quiet: 1, disk: 2}, {now: 4, quiet: 2, disk: 2}},
		"it has taken something in":     {{now: 1, quiet: 1}, {now: 2, byDisk: true, quiet: 1, disk: 1}, {now: 3, last: 2.5, quiet: 0.5}},
		"it is slow and stopped":        {{now: 1, byDisk: true, disk: 1}, {now: 10, byDisk: true, quiet: 1, disk: 1}},
	} {
		l := &lull{looked: start, due: at(1)}
		for _, look := range looks {
			quiet, disk := l.at(at(look.now), at(look.last), look.byDisk)
			if quiet.Seconds() != look.quiet || disk.Seconds() != look.disk {
				t.Errorf("%s: after %gs quiet for %s, the disk for %s; want %gs and %gs", name, look.now, quiet, disk, look.quiet, look.disk)
			}
			l.due = at(look.now + 1)
		}
	}
}

// The ticks come when the limit may be over, and in between.
func TestLullTicks(t *testing.T) {
	for _, limit := range []time.Duration{10 * time.Millisecond, lullStep + 10*time.Millisecond} {
		l, begun := newLull(limit), time.Now()
		for range l.C {
			if quiet, _ := l.since(begun, false); quiet >= limit {
				break
			}
		}
		if took := time.Since(begun); took < limit {
			t.Errorf("over after %s, want %s", took, limit)
		}
		l.Stop()
	}
}
