package node

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// While a block is stored no other source is asked for it, however slow the disk
// is, and the one that sent it has not failed.
func TestSlowDiskIsNoFaultOfASource(t *testing.T) {
	const slow = 2*slowAfter + time.Second // longer than another source is waited for
	st := memoryStore(t)
	root, data := shape{size: 3 << 20, chunk: 1 << 20, links: 5, raw: true}.build(t, offlineContent(st).dag)
	var asked atomic.Int32
	counting := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isProbe(r) {
			asked.Add(1)
		}
		honest(t, st).ServeHTTP(w, r)
	})
	n := behind(t, patience, serveGateway(t, counting), serveGateway(t, counting))
	keep, once := n.supply.keep, sync.Once{}
	n.supply.keep = func(ctx context.Context, b blocks.Block) error {
		if b.Cid().Type() == cid.Raw {
			once.Do(func() { <-time.After(slow) }) // the disk
		}
		return keep(ctx, b)
	}
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if got := asked.Load(); got != 1 {
		t.Errorf("%d requests; want one", got)
	}
	for _, s := range n.supply.sources() {
		if !s.usable(time.Now()) {
			t.Errorf("%s is left alone", s.name)
		}
	}
}

// A disk that is slow is no silence of the sources: the reader waits for it as
// long again, and the error tells of the disk.
func TestADiskThatDoesNotAnswer(t *testing.T) {
	const timeout = 2 * time.Second
	st := memoryStore(t)
	root, data := shape{size: 3 << 20, chunk: 1 << 20, links: 5, raw: true}.build(t, offlineContent(st).dag)
	for name, c := range map[string]struct {
		takes time.Duration // to write a block
		says  string
	}{
		"for a while":      {timeout + slowDisk, ""},
		"for far too long": {10 * timeout, "the disk of the repository has not answered for "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := behind(t, timeout, serveGateway(t, honest(t, st)))
			keep, once, end := n.supply.keep, sync.Once{}, make(chan struct{})
			n.supply.keep = func(ctx context.Context, b blocks.Block) error {
				if b.Cid().Type() == cid.Raw {
					once.Do(func() {
						select {
						case <-time.After(c.takes):
						case <-end:
						}
					})
				}
				return keep(ctx, b)
			}
			begun := time.Now()
			got, err := readCold(t, n, image.Path{Root: root})
			took := time.Since(begun)
			close(end)
			for _, s := range n.supply.sources() {
				if failed := testutil.ToFloat64(n.supply.metrics.errors.WithLabelValues(s.label)); failed > 0 {
					t.Errorf("%s has failed %g times", s.name, failed)
				}
			}
			if c.says == "" {
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
				return
			}
			if err == nil || image.ClassOf(err) != 0 || !strings.Contains(err.Error(), c.says) || took < 2*timeout {
				t.Errorf("%v of the class %s after %s; want one of our own that says %q", err, image.ClassOf(err), took, c.says)
			}
		})
	}
}

// What others write has nothing to do with a reader who waits for the network.
func TestADiskThatOthersWaitFor(t *testing.T) {
	n := behind(t, time.Second, serveGateway(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })))
	trail := n.supply.follow(absent("another"))
	defer trail.leave()
	n.supply.mu.Lock()
	others := n.supply.newJob(trail, batch{span: span{root: trail.dag, to: 1}})
	n.supply.mu.Unlock()
	defer others.fail(errDropped)
	defer others.disk.begin()()
	if _, err := readCold(t, n, image.Path{Root: absent("an image")}); image.ClassOf(err) != image.Unavailable {
		t.Errorf("%v of the class %s; want that nothing arrived", err, image.ClassOf(err))
	}
}

// A reader who had to wait for the disk has as long as any other for what comes then.
func TestADiskThatAnswersLate(t *testing.T) {
	const timeout = 2 * time.Second
	st := memoryStore(t)
	root, data := shape{size: 1 << 20, chunk: 1 << 20, links: 5, raw: true}.build(t, offlineContent(st).dag)
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-time.After(timeout / 3)
		honest(t, st).ServeHTTP(w, r)
	})
	n := behind(t, timeout, serveGateway(t, slow))
	look, once := n.supply.local, sync.Once{}
	n.supply.local = func(ctx context.Context, c cid.Cid) (ipld.Node, bool) {
		once.Do(func() { <-time.After(timeout + slowDisk/2) })
		return look(ctx, c)
	}
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}
