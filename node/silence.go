package node

import (
	"context"
	"errors"
	"time"
)

// emptyBlock is a block that every gateway has: its CID is its content. Trustless
// Gateway specification, "Probe".
const emptyBlock = "/ipfs/bafkqaaa?format=raw"

// silence is what is known of a gateway that has sent nothing of a DAG for a while.
type silence struct {
	asked    time.Time // for what it surely has; zero if it was not
	over     bool      // the asking, once
	answered bool
}

// String tells a gateway that looks for something from one that is stalled.
func (s silence) String() string {
	if s.answered {
		return "it answers, and has not found this"
	}
	return "it answers nothing, whatever it is asked for"
}

// isSilent reports whether a source is one of which no more is known than that.
func (n note) isSilent() bool {
	known := n.silence.over || !n.silence.asked.IsZero() && time.Since(n.silence.asked) > hedgeAfter
	return known && n.blocks == 0 && (n.err == nil || errors.Is(n.err, errSilent))
}

// heard notes that the source is not silent.
func (w *watch) heard() {
	if w.source.prober != nil {
		w.job.trail.note(w.source, func(n *note) { n.silence = silence{} })
	}
}

// awaitAnswer has a gateway asked for what it surely has when it has sent nothing
// for a while. The caller stops that when something comes.
func (w *watch) awaitAnswer() *time.Timer {
	return time.AfterFunc(min(hedgeAfter, w.job.supply.timeout/3), w.probe)
}

func (w *watch) probe() {
	if w.source.prober == nil {
		return
	}
	due := false
	w.job.trail.note(w.source, func(n *note) {
		if due = time.Since(n.silence.asked) > doubt; due {
			n.silence.asked = time.Now() // what it said before holds until it is known better
		}
	})
	if !due {
		return
	}
	// Longer than the reader waits, who is to hear that it was in vain.
	ctx, cancel := context.WithTimeout(w.job.ctx, w.job.supply.timeout)
	defer cancel()
	answered := w.source.answers(ctx)
	w.job.trail.note(w.source, func(n *note) {
		switch {
		case n.silence.asked.IsZero(): // it has sent something meanwhile
		case answered || w.job.ctx.Err() == nil:
			n.silence.over, n.silence.answered = true, answered
		case !n.silence.over:
			n.silence = silence{}
		}
	})
}

// answers reports whether a gateway answers, whatever that is, before ctx ends.
func (s *supplier) answers(ctx context.Context) bool {
	req, err := s.request(ctx, emptyBlock, rawType)
	if err != nil {
		return false
	}
	resp, err := s.prober.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return true
}
