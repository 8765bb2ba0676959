package test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// link is a TCP address on loopback that leads to another by way of toxiproxy,
// which spoils it, and of a wire, which counts what came through. toxiproxy
// itself counts a connection only when it has ended.
type link struct {
	*wire
	proxy *toxiproxy
	port  string // of the near end; the name of the proxy, too
}

// link makes one that brings so many bytes a second, in KB.
func (p *toxiproxy) link(t testing.TB, upstream string, rate int) *link {
	t.Helper()
	l := &link{newWire(t, upstream), p, port(t)}
	p.call(t, "/proxies", map[string]any{"name": l.port, "listen": "127.0.0.1:" + l.port, "upstream": l.listener.Addr().String(), "enabled": true})
	// With one that is never on, the connections end by a reset when it is.
	l.toxic(t, "reset", "reset_peer", 0, map[string]any{"timeout": 0})
	l.toxic(t, "limit", "bandwidth", 1, map[string]any{"rate": rate})
	return l
}

// toxic adds one to what comes down the link, for a share of the connections.
func (l *link) toxic(t testing.TB, name, kind string, share float64, attributes map[string]any) {
	t.Helper()
	l.proxy.call(t, filepath.Join("/proxies", l.port, "toxics"), map[string]any{"name": name, "type": kind, "stream": "downstream",
		"toxicity": share, "attributes": attributes})
}

// reset ends the connections of the link, and every later one, by a reset.
func (l *link) reset(t testing.TB) {
	t.Helper()
	l.proxy.call(t, filepath.Join("/proxies", l.port, "toxics/reset"), map[string]any{"toxicity": 1})
}

// unlimited takes the limit of the bandwidth away.
func (l *link) unlimited(t testing.TB) {
	t.Helper()
	// toxiproxy ends with a panic if the rate changes while a chunk is cut by the old one.
	l.proxy.remove(t, filepath.Join("/proxies", l.port, "toxics/limit"))
}

// enable cuts the link, or heals it.
func (l *link) enable(t testing.TB, on bool) {
	t.Helper()
	l.proxy.call(t, filepath.Join("/proxies", l.port), map[string]any{"enabled": on})
}

// multiaddr is how a node reaches the peer at the far end.
func (l *link) multiaddr(peer string) string { return "/ip4/127.0.0.1/tcp/" + l.port + "/p2p/" + peer }

func (l *link) url() string { return "http://127.0.0.1:" + l.port }

// wire passes bytes on and counts those that come back.
type wire struct {
	listener net.Listener
	upstream string
	came     atomic.Int64

	mu   sync.Mutex
	far  []net.Conn
	over bool
}

func newWire(t testing.TB, upstream string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, upstream: upstream}
	t.Cleanup(w.hangUp)
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go w.pass(near)
		}
	}()
	return w
}

func (w *wire) pass(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", w.upstream)
	if err != nil {
		return // the near end sees that it ends
	}
	defer far.Close()
	w.mu.Lock()
	w.far = append(w.far, far)
	over := w.over
	w.mu.Unlock()
	if over {
		return
	}
	go func() {
		_, _ = io.Copy(far, near) // how it ends is seen below
		_ = far.Close()
	}()
	_, _ = io.Copy(io.MultiWriter(near, counter{&w.came}), far) // either end may go at any time
}

// hangUp ends the wire for good: as if the host at the far end had gone.
func (w *wire) hangUp() {
	_ = w.listener.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for _, c := range w.far {
		_ = c.Close()
	}
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// download is a GET in the background.
type download struct {
	came atomic.Int64
	done chan struct{}
	// When done is closed: what it came to.
	status int
	body   digest.Digest
	err    error
}

// begin starts to read url from an offset on.
func begin(t testing.TB, from string, offset int64) *download {
	t.Helper()
	if _, err := url.Parse(from); err != nil {
		t.Fatal(err)
	}
	d := &download{done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.err = d.read(t.Context(), from, offset)
	}()
	return d
}

func (d *download) read(ctx context.Context, from string, offset int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	if offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	d.status = res.StatusCode
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(hash, counter{&d.came}), res.Body)
	d.body = digest.NewDigest(digest.SHA256, hash)
	return err
}

// busiest waits until the download is under way, and returns the link by which
// most has come.
func (d *download) busiest(t testing.TB, links []*link) *link {
	t.Helper()
	d.underWay(t)
	return slices.MaxFunc(links, func(a, b *link) int { return cmp.Compare(a.came.Load(), b.came.Load()) })
}

// underWay waits until the client has got a good part of the blob.
func (d *download) underWay(t testing.TB) {
	t.Helper()
	eventually(t, startLimit, "the client gets bytes", func() error {
		if n := d.came.Load(); n < midBlob {
			return fmt.Errorf("%d came", n)
		}
		return nil
	})
	select {
	case <-d.done:
		t.Errorf("the download is over: %d bytes, %v", d.came.Load(), d.err)
	default:
	}
}

// wait waits for the end.
func (d *download) wait(t testing.TB, within time.Duration) {
	t.Helper()
	select {
	case <-d.done:
	case <-time.After(within):
		t.Fatalf("after %s and %d bytes a download goes on", within, d.came.Load())
	}
}

// brings waits for the whole of a blob.
func (d *download) brings(t testing.TB, want digest.Digest) {
	t.Helper()
	d.wait(t, 2*startLimit)
	if d.err != nil || d.body != want {
		t.Errorf("status %d, %d bytes with the digest %s, %v; want %s", d.status, d.came.Load(), d.body, d.err, want)
	}
}

// breaks waits for an end that is not the end of the blob.
func (d *download) breaks(t testing.TB, within time.Duration) {
	t.Helper()
	d.wait(t, within)
	if d.err == nil {
		t.Errorf("the download ended as if all had come: status %d, %d bytes", d.status, d.came.Load())
	}
	if errors.Is(d.err, context.Canceled) {
		t.Error(d.err)
	}
}
