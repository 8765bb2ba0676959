package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A layer that is pulled is never in memory as a whole. Hundreds of small ranges of
// one that is far, asked for at once, take no more memory than all of it pulled and
// those blocks that there is room for at a time; and in one request little more than
// all of it pulled.
func TestRangeMemory(t *testing.T) {
	const (
		size   = 512 << 20
		ranges = 400
		length = 16 << 10
	)
	l, layer := randomImageOf(t, size)
	blob, err := os.Open(l.blob(layer.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	seed := serve(t, tempDir(t))
	cid := push(t, seed.repo, l.spec())
	address := seed.address(t)
	// peak is the most that a daemon takes that begins with nothing.
	peak := func(read func(url string)) int64 {
		d := serve(t, tempDir(t), "--peer", address)
		defer d.stop()
		request(t, "GET", d.url("%s/manifests/latest", cid))
		read(d.url("%s/blobs/%s", cid, layer.Digest))
		return d.peakMemory(t)
	}
	offset := func(i int) int64 { return int64(i) * (size / ranges) }
	whole := peak(func(url string) {
		res, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if n, err := io.Copy(io.Discard, res.Body); n != layer.Size || err != nil {
			t.Errorf("%d bytes of %d, %v", n, layer.Size, err)
		}
	})
	apart := peak(func(url string) {
		var all sync.WaitGroup
		for i := range ranges {
			all.Go(func() {
				a := request(t, "GET", url, "Range", fmt.Sprintf("bytes=%d-%d", offset(i), offset(i)+length-1))
				if a.StatusCode != http.StatusPartialContent || len(a.body) != length {
					t.Errorf("at %d: %s with %d bytes", offset(i), a.Status, len(a.body))
				}
				checkPart(t, blob, offset(i), a.body)
			})
		}
		all.Wait()
	})
	together := peak(func(url string) {
		var header []string
		for i := range ranges {
			header = append(header, fmt.Sprintf("%d-%d", offset(i), offset(i)+length-1))
		}
		a := request(t, "GET", url, "Range", "bytes="+strings.Join(header, ","))
		if a.StatusCode != http.StatusPartialContent || len(a.body) < ranges*length {
			t.Errorf("%s with %d bytes", a.Status, len(a.body))
		}
	})
	t.Logf("peak memory: %d MiB for all of it, %d MiB for %d ranges, %d MiB for as many in one request", whole>>20, apart>>20, ranges, together>>20)
	if whole > 256<<20 {
		t.Errorf("all of a layer of %d MiB took %d MiB: it is held in memory", layer.Size>>20, whole>>20)
	}
	if apart > whole+256<<20 || together > whole+64<<20 {
		t.Errorf("%d ranges took %d MiB, in one request %d MiB; all of it takes %d MiB", ranges, apart>>20, together>>20, whole>>20)
	}
}

// heldGateway is Kubo's gateway, whose answers can be held back, but for what a
// file begins with, which comes with the manifest.
type heldGateway struct {
	http.Handler
	mu   sync.Mutex
	hold chan struct{} // nil, or what answers wait for
	open int           // requests that wait
}

func (g *heldGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, _, part := strings.Cut(r.URL.Query().Get("entity-bytes"), ":")
	offset, _ := strconv.Atoi(from) // else it is a single block
	if hold := g.enter(part && offset < 4<<20); hold != nil {
		select {
		case <-hold:
			g.leave()
		case <-r.Context().Done():
			g.leave()
			return
		}
	}
	g.Handler.ServeHTTP(w, r)
}

func (g *heldGateway) enter(begins bool) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if begins || g.hold == nil {
		return nil
	}
	g.open++
	return g.hold
}

func (g *heldGateway) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
}

// waiting complains unless some requests wait, or none does.
func (g *heldGateway) waiting(some bool) func() error {
	return func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.open > 0 != some {
			return fmt.Errorf("%d requests wait", g.open)
		}
		return nil
	}
}

// A snapshotter that has gone, or a program that was killed while it read, leaves
// nothing behind: what was under way for it ends, and whoever reads the same
// later gets it.
func TestACancelledRange(t *testing.T) {
	l, layer := randomImageOf(t, 64<<20)
	blob, err := os.Open(l.blob(layer.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	k := kuboNode(t)
	cid := push(t, tempDir(t), "--ipfs-address", k.api, l.spec())
	g := &heldGateway{Handler: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: k.gateway})}
	s := httptest.NewServer(g)
	defer s.Close()
	d := serve(t, tempDir(t), "--offline", "--gateway", s.URL, "--pin-on-pull", "none")
	from := d.url("%s/blobs/%s", cid, layer.Digest)
	request(t, http.MethodGet, d.url("%s/manifests/latest", cid))
	request(t, http.MethodGet, from, "Range", "bytes=0-1")
	for _, ranges := range []string{"30000000-30016383", "40000000-40016383,50000000-50016383"} {
		g.mu.Lock()
		g.hold = make(chan struct{})
		g.mu.Unlock()
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", "bytes="+ranges)
		done := make(chan error, 1)
		go func() {
			res, err := http.DefaultClient.Do(req)
			if err == nil {
				_ = res.Body.Close()
			}
			done <- err
		}()
		eventually(t, time.Minute, "the gateway is asked", g.waiting(true))
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the request ended with %v", err)
		}
		eventually(t, 20*time.Second, "the gateway is left", g.waiting(false))
		g.mu.Lock()
		close(g.hold)
		g.hold = nil
		g.mu.Unlock()
		if a := request(t, http.MethodGet, from, "Range", "bytes="+ranges); a.StatusCode != http.StatusPartialContent {
			t.Errorf("%s: %s %s", ranges, a.Status, a.body)
		}
	}
	a := request(t, http.MethodGet, from, "Range", "bytes=30000000-30016383")
	checkPart(t, blob, 30000000, a.body)
}
