package registry

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// content answers with a manifest or blob. It closes the Content.
type content struct {
	*image.Content
	mediaType string
	immutable bool
	// aborted is told why an answer that had begun can't be finished.
	aborted func(*http.Request, error)
	failed  error
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
	if c.failed == nil {
		return
	}
	// What was promised can't be kept: a short body must not look like a whole
	// one, so the connection goes.
	c.aborted(r, c.failed)
	panic(http.ErrAbortHandler)
}

// Read keeps the failure that http.ServeContent does not tell of.
func (c *content) Read(p []byte) (int, error) {
	n, err := c.Content.Read(p)
	if err != nil && err != io.EOF {
		c.failed = err
	}
	return n, err
}

// directWriter lets content that knows a cheaper way than Read take it.
// http.ServeContent copies by io.CopyN, which hands the destination's ReadFrom
// an io.LimitedReader of the content.
type directWriter struct{ http.ResponseWriter }

func (w *directWriter) ReadFrom(src io.Reader) (int64, error) {
	size := int64(256 << 10)
	if limited, ok := src.(*io.LimitedReader); ok {
		if c, ok := limited.R.(*content); ok && c.direct() != nil {
			n, err := c.direct().WriteNTo(w.ResponseWriter, limited.N)
			limited.N -= n
			c.failed = err
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
