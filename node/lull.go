package node

import "time"

// lullStep is how often it is looked whether something has come, and how late that
// may be on a busy machine.
const lullStep = 500 * time.Millisecond

// lull measures for how long nothing has come. Of that only the time counts in which
// something could: not that in which this process did not run, as by "docker pause"
// or with the whole machine, for what came meanwhile lies in the sockets and is to
// be read first; nor that in which the disk did not take it in.
type lull struct {
	*time.Timer // ticks whenever it is to be asked
	limit       time.Duration
	last        time.Time // something came, as far as is known
	looked      time.Time
	due         time.Time // the next tick
	stopped     time.Duration
	disk        time.Duration
}

// newLull begins; who waits looks at it with each tick, and stops it.
func newLull(limit time.Duration) *lull {
	now, step := time.Now(), min(lullStep, limit)
	return &lull{Timer: time.NewTimer(step), limit: limit, looked: now, due: now.Add(step)}
}

// since returns for how long nothing has come, given when something came last and
// whether the disk is waited for, and for how long that was so. It has the next tick
// come when either may exceed the limit.
func (l *lull) since(last time.Time, byDisk bool) (quiet, disk time.Duration) {
	now := time.Now()
	quiet, disk = l.at(now, last, byDisk)
	step := lullStep
	if left := l.limit - quiet; left > 0 {
		step = min(step, left)
	}
	l.due = now.Add(step)
	l.Reset(step)
	return quiet, disk
}

// at is since at a time. A tick that is late tells that nobody could hear anything.
func (l *lull) at(now, last time.Time, byDisk bool) (quiet, disk time.Duration) {
	if !last.Equal(l.last) {
		l.last, l.stopped, l.disk = last, 0, 0
	}
	if late := now.Sub(later(l.due, last)); late > lullStep {
		l.stopped += late
	} else if byDisk {
		l.disk += now.Sub(later(l.looked, last))
	}
	l.looked = now
	return now.Sub(last) - l.stopped - l.disk, l.disk
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
