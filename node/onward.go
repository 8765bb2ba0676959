package node

import (
	"context"
	"slices"

	ipld "github.com/ipfs/go-ipld-format"
)

// A block that leads to other things for each who needs it, such as the root of
// a file of which each needs another part, is one flight. A job that goes on
// from it to what nobody else asks for follows the flight: its stream is opened
// at once, and not a round trip later when the block is here.

// onward is a job that goes on from the block of another's flight.
type onward struct {
	job *job
	at  place // of the block, in the job's span
}

// carrier returns the job that brings what a span begins with, below a block at a
// place, nil if none of those that go on from the flight does. A block that is here
// already has been gone on from: who comes while it is being stored waits for that,
// and goes on by itself. It needs supply.mu.
func (f *flight) carrier(sp span, at place) *job {
	if f.come || sp.to == 0 || at.end != 0 || f.end != 0 {
		return f.job
	}
	for _, other := range append(slices.Clone(f.onward), onward{f.job, f.place}) {
		has := other.job.span
		if !other.job.over && slices.Equal(other.at.names, at.names) && has.from <= sp.from && sp.from < has.to {
			return other.job
		}
	}
	return nil
}

// await has the job go on from a flight. It needs supply.mu.
func (j *job) await(f *flight, at place) {
	f.onward = append(f.onward, onward{j, at})
	j.awaited[f.cid] = wanted{f.cid, at}
}

// leads returns, by job, what comes after the block of a flight.
func (s *supply) leads(f *flight, nd ipld.Node) map[*job][]wanted {
	s.mu.Lock()
	all := append(slices.Clone(f.onward), onward{f.job, f.place})
	s.mu.Unlock()
	next := map[*job][]wanted{}
	for _, to := range all {
		next[to.job] = to.job.leadsTo(nd, to.at)
	}
	return next
}

// begin notes that the block of a flight has come. It returns false if it had, by
// another stream, once it is known what comes after it.
func (s *supply) begin(ctx context.Context, f *flight) bool {
	s.mu.Lock()
	if s.flights[f.cid] != f || !f.come {
		defer s.mu.Unlock()
		f.come = true
		return s.flights[f.cid] == f
	}
	landed := make(chan *flight, 1)
	f.waiters = append(f.waiters, landed)
	s.mu.Unlock()
	select {
	case <-landed:
	case <-ctx.Done():
	}
	return false
}

// expect has the flights begin of the blocks that one leads to, nil to none. It
// comes before anybody can see the block, or they would ask for those again.
func (s *supply) expect(f *flight, nd ipld.Node) {
	if nd == nil {
		return
	}
	next := s.leads(f, nd)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flights[f.cid] != f {
		return
	}
	for j, all := range next {
		for _, w := range all {
			if !j.over {
				j.goOn(w)
			}
		}
	}
}

// goOn has the job go on to a block that follows, which another that goes the
// same way may bring. It needs supply.mu.
func (j *job) goOn(w wanted) {
	switch f := j.supply.flights[w.cid]; {
	case f == nil:
		j.add(w)
	case f.job != j && w.end == 0:
		j.await(f, w.place)
	}
}
