package node

import "time"

// lullStep is how often it is looked whether something has come.
const lullStep = 500 * time.Millisecond

// lull measures for how long nothing has come. Of that only the time counts in which
// this process ran: what came while it was stopped, as by "docker pause" or with the
// whole machine, lies in the sockets and is to be read first.
type lull struct {
	*time.Timer // ticks whenever it is to be asked
	limit       time.Duration
	last        time.Time // something came, as far as is known
	due         time.Time // the next tick
	lost        time.Duration
}

// newLull begins; who waits looks at it with each tick, and stops it.
func newLull(limit time.Duration) *lull {
	step := min(lullStep, limit)
	return &lull{Timer: time.NewTimer(step), limit: limit, due: time.Now().Add(step)}
}

// since returns for how long nothing has come, given when something came last, and
// has the next tick come when that may exceed the limit.
func (l *lull) since(last time.Time) time.Duration {
	now := time.Now()
	quiet := l.at(now, last)
	step := lullStep
	if left := l.limit - quiet; left > 0 {
		step = min(step, left)
	}
	l.due = now.Add(step)
	l.Reset(step)
	return quiet
}

// at is since at a time. A tick that is late tells that nobody could hear anything.
func (l *lull) at(now, last time.Time) time.Duration {
	if !last.Equal(l.last) {
		l.last, l.lost = last, 0
	}
	if l.due.Before(last) {
		l.due = last
	}
	l.lost += max(0, now.Sub(l.due))
	return now.Sub(last) - l.lost
}
