package node

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Where a file is read here and there, what lies around comes as well: as much
// as the link carries in the time of an answer, more once it was of use, and
// nothing around the first Range or a probe.
func TestWhatLiesAroundARangeComes(t *testing.T) {
	st, roots, all := gatedFiles(t, 100<<20)
	path := image.Path{Root: roots[0]}
	p := newDelayProxy(t, strings.TrimPrefix(serveGateway(t, honest(t, st)), "http://"), 100*time.Millisecond)
	n := behind(t, patience, "http://"+p.addr())
	source := n.supply.sources()[0]
	expect := func(what string, at int64, want int) {
		t.Helper()
		before := blocksFrom(n, source.label)
		if got := readRange(t, n, path, at<<20+5, at<<20+9); !bytes.Equal(got, all[0][at<<20+5:at<<20+9]) {
			t.Errorf("%s: %d bytes", what, len(got))
		}
		eventually(t, what+": nothing is under way", func() bool {
			n.supply.mu.Lock()
			defer n.supply.mu.Unlock()
			streams, _ := source.load()
			return prefetched(n) && len(n.supply.flights) == 0 && streams == 0
		})
		if got := blocksFrom(n, source.label) - before; got != want {
			t.Errorf("%s: %d blocks came, want %d", what, got, want)
		}
	}
	readRange(t, n, path, 0, 2) // the root and the first leaf
	expect("the first", 20, 1)
	expect("the second", 30, 7)
	expect("before it", 27, 0)
	expect("after it", 33, 0)
	expect("after hits", 50, 9)
	for at := int64(10); at < 18; at++ { // they are missing each time
		n.content.haunts.missed(roots[0])
	}
	expect("after misses, at the end", 99, 2)
	p.link.Store(&link{speed: 2 << 20})
	expect("on a slow link", 70, 1)
}

// A link that becomes slow while something comes that nobody waits for is not
// taken by it for so long that a reader gives up.
func TestALinkBecomesSlow(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	data := randomBytes(16, 100<<20)
	path := image.Path{Root: addFile(t, seed, data)}
	p, addr := proxied(t, seed, 20*time.Millisecond)
	o := loopback(t.TempDir(), addr)
	o.FetchTimeout = 3 * time.Second
	n := startNode(t, o)
	speaksHTTP(t, n)
	readRange(t, n, path, 0, 2)
	readRange(t, n, path, 10<<20, 10<<20+9)
	readRange(t, n, path, 30<<20, 30<<20+9)
	p.link.Store(&link{speed: 2 << 20})
	var readers sync.WaitGroup
	for _, at := range []int64{50 << 20, 70 << 20} {
		readers.Go(func() {
			for from := at; from < at+12<<20; from += 4 << 20 {
				if got := readRange(t, n, path, from, from+9); !bytes.Equal(got, data[from:from+9]) {
					t.Errorf("at %d: %d bytes", from, len(got))
				}
			}
		})
	}
	readers.Wait()
}
