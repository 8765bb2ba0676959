package node

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
)

// watch is on one asking of a source, and ends it when nothing comes.
type watch struct {
	source *supplier
	job    *job
	ctx    context.Context
	cancel context.CancelCauseFunc
	silent *time.Timer // ends with the first byte
	begun  time.Time

	mu     sync.Mutex
	first  time.Time // the first byte came
	last   time.Time // a byte came, or was taken in
	taking int       // blocks that are being taken in
	bytes  int64
	wasted int64 // of them, those of blocks that nobody wanted
	blocks int   // that were wanted
}

// watch begins; the caller ends it. The first byte may take as long as a reader
// waits for it: a gateway that looks for the content itself is given its time,
// while others are asked.
func (j *job) watch(s *supplier) *watch {
	ctx, cancel := context.WithCancelCause(j.ctx)
	now := time.Now()
	w := &watch{source: s, job: j, ctx: ctx, cancel: cancel, begun: now, first: now, last: now}
	w.silent = w.awaitAnswer()
	go w.attend()
	return w
}

// attend ends the asking when nothing has come for too long.
func (w *watch) attend() {
	l := newLull(min(maxIdle, w.job.supply.timeout))
	defer l.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-l.C:
			last, limit := w.heard()
			if quiet, _ := l.since(last, false); quiet >= limit {
				w.cancel(errIdle)
				return
			}
		}
	}
}

// heard returns when something came last, and how long the next may take.
func (w *watch) heard() (last time.Time, limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch timeout := w.job.supply.timeout; {
	case w.taking > 0: // the source may send no more before that is done
		return time.Now(), timeout
	case w.bytes == 0:
		return w.last, timeout
	default:
		return w.last, min(maxIdle, timeout)
	}
}

// end returns what the asking ended with, given the error that it shows.
func (w *watch) end(err error) error {
	w.silent.Stop()
	if context.Cause(w.ctx) == errIdle { //nolint:errorlint // it is the very value that was set
		if err = errIdle; w.bytes == 0 {
			err = errSilent
		}
	}
	w.cancel(context.Canceled)
	return err
}

// over returns a reader that tells the watch of what comes.
func (w *watch) over(r io.Reader) io.Reader { return &watched{r, w} }

type watched struct {
	io.Reader
	watch *watch
}

func (r *watched) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.watch.came(n)
	}
	return n, err
}

func (w *watch) came(n int) {
	w.job.bytes.Add(int64(n))
	w.source.received.Add(int64(n))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	if w.bytes == 0 {
		w.silent.Stop()
		w.noteAnswer()
		w.first = w.last
		w.source.answered(w.first.Sub(w.begun))
	}
	w.bytes += int64(n)
}

// take notes that a block that came is taken in; the caller calls taken.
func (w *watch) take() (taken func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taking++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.taking--
		w.last = time.Now()
	}
}

// takeFrom takes in a block that the source sent.
func (j *job) takeFrom(w *watch, c cid.Cid, data []byte) (bool, error) {
	defer w.take()()
	defer j.disk.begin()()
	taken, err := j.supply.take(w.ctx, c, data, func() {
		j.trail.brought(w.source, 1)
		w.mu.Lock()
		w.blocks++
		wait := w.first.Sub(w.begun)
		j.supply.slots.measure(w.bytes, time.Since(w.first), w.source.isNear())
		w.mu.Unlock()
		j.supply.metrics.came(w.source.label, len(data), wait)
	})
	if !taken {
		w.waste(len(data))
	}
	return taken, err
}

// waste takes back what came for nothing: a source that sends only that is none
// that brings something.
func (w *watch) waste(n int) {
	w.job.bytes.Add(-int64(n))
	w.source.received.Add(-int64(n))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wasted += int64(n)
}

// inVain reports whether the source has sent for a while, and hardly anything else.
func (w *watch) inVain() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blocks == 0 && w.wasted > w.bytes/2 && time.Since(w.first) > hedgeAfter
}

// useful is how many bytes tell how fast the source is: none, if most were wasted.
func (w *watch) useful() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wasted > w.bytes/2 {
		return 0
	}
	return w.bytes - w.wasted
}
