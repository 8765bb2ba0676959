package node

import (
	"sync"
	"time"
)

const (
	// Of the parts that fill the link so many are under way at once: as many as
	// it takes to fill a long one, and few on a slow one, where each would only
	// delay the part that is read first. What a reader waits for comes on top.
	minStreams   = 2
	firstStreams = 16
	maxStreams   = 24
	// A part that came sooner than quick makes room for more, one that took
	// longer than slow for fewer.
	quick = 500 * time.Millisecond
	slow  = 3 * time.Second
	// calibration is how many bytes tell how fast a link is, and ahead how long
	// the parts under way should take together.
	calibration = 512 << 10
	ahead       = time.Second
	// A source that answers sooner than near sends without a pause when it has
	// nearStreams parts to send. More would only keep from the reader the part
	// that it reads next, and from the node the time to pass it on meanwhile.
	near        = 10 * time.Millisecond
	nearStreams = 4
	// maxRanged is how many parts come on top for readers of Ranges. There may be
	// any number of those at once, each part holds a block in memory while it
	// comes, and on a slow link more would only delay each other.
	maxRanged = 64
)

// slots are the places of the parts under way, given in the order of asking.
// Their number follows the link.
type slots struct {
	mu     sync.Mutex
	limit  int
	near   bool // nearStreams are enough
	taken  int
	queued []chan struct{}
	known  bool // the link has been measured
}

// measure tells of bytes that came in a time by one stream, and whether from
// near. The first that is told sets the limit: on a slow link it is too late
// once all are under way.
func (s *slots) measure(bytes int64, took time.Duration, isNear bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.near = isNear
	if s.known || bytes < calibration {
		return
	}
	s.known = true
	parts := float64(bytes) / max(took, time.Millisecond).Seconds() * ahead.Seconds() / partSize
	s.limit = min(max(int(parts), minStreams), firstStreams)
}

// places is how many there are. It needs s.mu.
func (s *slots) places() int {
	if s.near {
		return min(s.limit, nearStreams)
	}
	return s.limit
}

// queue asks for a place, which is mine when the channel is closed.
func (s *slots) queue() (mine chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine = make(chan struct{})
	if s.taken < s.places() {
		s.taken++
		close(mine)
	} else {
		s.queued = append(s.queued, mine)
	}
	return mine
}

// take waits for a place that was asked for, which has to be given back if true
// is returned. It gives up when any of the others is closed.
func (s *slots) take(mine chan struct{}, urgent, done <-chan struct{}) bool {
	select {
	case <-mine:
		return true
	case <-urgent:
	case <-done:
	}
	return !s.leave(mine)
}

// leave gives a place in the queue up, and returns false if it has just come
// to its turn.
func (s *slots) leave(mine chan struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, q := range s.queued {
		if q == mine {
			s.queued = append(s.queued[:i], s.queued[i+1:]...)
			return true
		}
	}
	return false
}

// give gives a place back after a time.
func (s *slots) give(took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	switch {
	case took < quick:
		s.limit = min(s.limit+2, maxStreams)
	case took > slow:
		s.limit = max(s.limit-1, minStreams)
	}
	for s.taken < s.places() && len(s.queued) > 0 {
		close(s.queued[0])
		s.queued = s.queued[1:]
		s.taken++
	}
}
