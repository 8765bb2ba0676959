package node

import "errors"

// errYielded is why a block that no reader has asked for does not come yet.
var errYielded = errors.New("a reader needs another block first")

// claimAll makes those jobs a reader's own that bring what it is going to fetch.
func (s *supply) claimAll(batches []batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range batches {
		s.claim(b.wanted)
	}
}

// claim makes those jobs a reader's own that bring what it needs. It needs s.mu.
func (s *supply) claim(missing []wanted) {
	for _, w := range missing {
		if f := s.flights[w.cid]; f != nil && s.spare[f.job] {
			f.job.hurry()
		}
	}
}

// newJob makes a job for b. A job for a reader ends those that are for nobody
// yet, unless they are brief. It needs s.mu, like ended.
func (s *supply) newJob(t *trail, b batch) *job {
	s.metrics.retrievals.Inc()
	j := newJob(s, t, b.span)
	j.relay, j.ranged = b.relay, b.ranged
	if b.idle {
		j.idle, j.brief, s.spare[j] = true, b.brief, true
		return j
	}
	s.busy++
	for other := range s.spare {
		if !other.brief {
			other.end(errYielded)
		}
	}
	return j
}

// ended notes the end of a job.
func (s *supply) ended(j *job) {
	if s.spare[j] {
		delete(s.spare, j)
	} else {
		s.busy--
	}
	if s.busy == 0 && s.calm != nil {
		close(s.calm)
		s.calm = nil
	}
}

// rest waits until nothing is under way for readers, or one of them needs the
// job, or it ends.
func (s *supply) rest(j *job) {
	s.mu.Lock()
	if s.busy == 0 {
		s.mu.Unlock()
		return
	}
	if s.calm == nil {
		s.calm = make(chan struct{})
	}
	calm := s.calm
	s.mu.Unlock()
	select {
	case <-calm:
	case <-j.urgent:
	case <-j.ctx.Done():
	}
}
