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
	told     time.Time // how the asking ended, or one before; zero if none did
	answered bool
}

// answers reports whether the gateway does, and if that is known. What it said
// before holds for a while, but it has to say so again.
func (s silence) answers() (answers, known bool) {
	if s.told.Before(s.asked) && time.Since(s.asked) > hedgeAfter {
		return false, true
	}
	return s.answered, !s.told.IsZero()
}

// ended is what is known when the asking has ended, because nobody waits any more or
// by itself.
func (s silence) ended(answered, abandoned bool) silence {
	switch {
	case s.asked.IsZero(): // it has sent something meanwhile
	case !answered && abandoned && time.Since(s.asked) <= hedgeAfter: // it had no time
		s.asked = s.told
	default:
		s.told, s.answered = time.Now(), answered
	}
	return s
}

// String tells a gateway that looks for something from one that is stalled.
func (s silence) String() string {
	if answers, _ := s.answers(); answers {
		return "it answers, and has not found this"
	}
	return "it answers nothing, whatever it is asked for"
}

// isSilent reports whether a source is one of which no more is known than that.
func (n note) isSilent() bool {
	_, known := n.silence.answers()
	return known && n.blocks == 0 && (n.err == nil || errors.Is(n.err, errSilent))
}

// noteAnswer notes that the source is not silent.
func (w *watch) noteAnswer() {
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
	due, asked := false, time.Now()
	w.job.trail.note(w.source, func(n *note) {
		if due = time.Since(n.silence.asked) > doubt; due {
			n.silence.asked = asked
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
		if answered || !n.silence.asked.After(asked) { // else it is asked anew, and that will tell
			n.silence = n.silence.ended(answered, w.job.ctx.Err() != nil)
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
