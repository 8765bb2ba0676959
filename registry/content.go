package registry

import (
	"context"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// content answers with a manifest or blob. It closes the Content.
type content struct {
	*image.Content
	// stop ends the context that the Content was opened with.
	stop      context.CancelFunc
	mediaType string
	immutable bool
	// aborted is told why an answer that had begun can't be finished.
	aborted func(*http.Request, error)

	// over says that nothing more is needed: what a read fails with then is no failure.
	over atomic.Bool
	// mu is held by whoever uses the File. Several ranges are read by a goroutine
	// that http.ServeContent starts and, if the client goes, does not wait for.
	mu     sync.Mutex
	failed error
	closed bool
}

// respond leaves ranges, conditions and HEAD to http.ServeContent. It gets the
// media type, or it would read the content to guess it, and no time, for the
// digest as ETag says all there is to say.
func (c *content) respond(w http.ResponseWriter, r *http.Request) {
	defer c.Close()
	h := w.Header()
	h.Set("Content-Type", c.mediaType)
	h.Set("Docker-Content-Digest", c.Descriptor.Digest.String())
	h.Set("ETag", strconv.Quote(c.Descriptor.Digest.String()))
	h.Set("X-Content-Type-Options", "nosniff")
	if c.immutable {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(&directWriter{w}, r, "", time.Time{}, c)
	failed := c.failure()
	if failed == nil {
		return
	}
	// What was promised can't be kept: a short body must not look like a whole
	// one, so the connection goes.
	c.aborted(r, failed)
	panic(http.ErrAbortHandler)
}

// Read keeps the failure that http.ServeContent does not tell of.
func (c *content) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, os.ErrClosed
	}
	n, err := c.Content.Read(p)
	if err != nil && err != io.EOF && !c.over.Load() {
		c.failed = err
	}
	return n, err
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, os.ErrClosed
	}
	return c.Content.Seek(offset, whence)
}

// writeNTo takes the cheaper way of a File that has one.
func (c *content) writeNTo(direct image.LimitedWriterTo, w io.Writer, n int64) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, os.ErrClosed
	}
	n, err := direct.WriteNTo(w, n)
	c.failed = err
	return n, err
}

// failure ends the reading and returns what went wrong with it.
func (c *content) failure() error {
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// Close waits for a read that is under way.
func (c *content) Close() error {
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return c.Content.Close()
}

// end has a read that is under way come back, though nothing arrives for it.
func (c *content) end() {
	c.over.Store(true)
	c.stop()
}

// directWriter lets content that knows a cheaper way than Read take it.
// http.ServeContent copies by io.CopyN, which hands the destination's ReadFrom
// an io.LimitedReader of the content.
type directWriter struct{ http.ResponseWriter }

func (w *directWriter) ReadFrom(src io.Reader) (int64, error) {
	size := int64(256 << 10)
	if limited, ok := src.(*io.LimitedReader); ok {
		if c, ok := limited.R.(*content); ok && c.direct() != nil {
			n, err := c.writeNTo(c.direct(), w.ResponseWriter, limited.N)
			limited.N -= n
			return n, err
		}
		size = min(size, limited.N)
	}
	// Not io.Copy(w.ResponseWriter, src): its ReadFrom would hold one write
	// deadline over reads that wait for the network.
	return io.CopyBuffer(struct{ io.Writer }{w.ResponseWriter}, src, make([]byte, max(size, 1)))
}

func (c *content) direct() image.LimitedWriterTo {
	f, _ := c.File.(image.LimitedWriterTo)
	return f
}
