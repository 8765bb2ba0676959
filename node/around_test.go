package node

import (
	"bytes"
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
	n := behind(t, patience, serveGateway(t, honest(t, st)))
	source := n.supply.sources()[0]
	link := func(rate float64) {
		source.mu.Lock()
		defer source.mu.Unlock()
		source.rate, source.wait = rate, time.Second
	}
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
			return len(n.supply.flights) == 0 && streams == 0
		})
		if got := blocksFrom(n, source.label) - before; got != want {
			t.Errorf("%s: %d blocks came, want %d", what, got, want)
		}
	}
	readRange(t, n, path, 0, 2) // the root and the first leaf
	link(1 << 40)
	expect("the first", 20, 1)
	expect("the second", 30, 7)
	expect("before it", 27, 0)
	expect("after it", 33, 0)
	link(1 << 40)
	expect("after hits", 50, 9)
	link(1 << 20)
	expect("on a slow link", 70, 1)
	link(2 << 20)
	expect("on a link not so slow", 80, 3)
	for at := int64(10); at < 18; at++ { // they are missing each time
		n.content.haunts.missed(roots[0])
	}
	link(1 << 40)
	expect("after misses, at the end", 99, 2)
}
