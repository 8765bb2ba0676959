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
	timer  *time.Timer
	silent *time.Timer // ends with the first byte
	begun  time.Time

	mu     sync.Mutex
	first  time.Time // the first byte came
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
	w := &watch{
		source: s, job: j, ctx: ctx, cancel: cancel, begun: now, first: now,
		timer: time.AfterFunc(j.supply.timeout, func() { cancel(errIdle) }),
	}
	w.silent = w.awaitAnswer()
	return w
}

// end returns what the asking ended with, given the error that it shows.
func (w *watch) end(err error) error {
	w.timer.Stop()
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
	w.timer.Reset(min(maxIdle, w.job.supply.timeout))
	w.job.bytes.Add(int64(n))
	w.source.received.Add(int64(n))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bytes == 0 {
		w.silent.Stop()
		w.heard()
		w.first = time.Now()
		w.source.answered(w.first.Sub(w.begun))
	}
	w.bytes += int64(n)
}

// takeFrom takes in a block that the source sent, which may send no more before
// that is done.
func (j *job) takeFrom(w *watch, c cid.Cid, data []byte) (bool, error) {
	w.timer.Stop()
	defer w.timer.Reset(min(maxIdle, j.supply.timeout))
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
