package node

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

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
