package registry

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// headerLimit bounds the time for a request's header, and idleLimit that
	// between requests. Clients keep connections for later layers; an idle one
	// costs a few kilobytes.
	headerLimit = 10 * time.Second
	idleLimit   = 3 * time.Minute
	// maxHeader fits 1,024 ranges, as containers/storage sends them, and not
	// many more: each range of an answer has a header of its own.
	maxHeader = 64 << 10
	// writeLimit bounds one write to a client, a block at the most. A reader
	// slower than that, 9 KB/s, is gone for good.
	writeLimit = 2 * time.Minute
)

// NewServer returns a server of h with time-outs and limits set. Serve it on
// listeners that [Bound] has wrapped.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Bound returns l with a bound on every write to the connections that it
// accepts, so that a client that has stopped reading does not hold a request
// for ever. A bound on the whole answer would end slow pulls of large layers.
func Bound(l net.Listener) net.Listener { return &boundListener{l} }

type boundListener struct{ net.Listener }

func (l *boundListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &boundConn{tcp}, err
	}
	return c, err
}

type boundConn struct{ *net.TCPConn }

func (c *boundConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return 0, err
	}
	return c.TCPConn.Write(p)
}

// ReadFrom keeps the way to sendfile open.
func (c *boundConn) ReadFrom(r io.Reader) (int64, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return 0, err
	}
	return c.TCPConn.ReadFrom(r)
}
