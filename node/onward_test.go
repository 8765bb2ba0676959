package node

import (
	"bytes"
	"testing"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Who needs other parts of a file of which nothing is here does not wait for its
// root, which is under way for somebody else, to ask for them.
func TestPartsOfAColdFileComeSideBySide(t *testing.T) {
	st, roots, all := gatedFiles(t, 40<<20)
	root, path := roots[0], image.Path{Root: roots[0]}
	g := newGated(honest(t, st), root)
	n := behind(t, patience, serveGateway(t, g))
	offsets := []int64{0, 10 << 20, 20 << 20, 30 << 20}
	done := make(chan bool, len(offsets))
	for i, from := range offsets {
		go func() { done <- bytes.Equal(readRange(t, n, path, from, from+9), all[0][from:from+9]) }()
		eventually(t, "it is asked for", func() bool { return g.count(g.asked, root) == i+1 })
	}
	close(g.held[root.String()])
	for range offsets {
		if !<-done {
			t.Error("a range has other bytes")
		}
	}
	if got := blocksFrom(n, n.supply.sources()[0].label); got != 5 {
		t.Errorf("%d blocks came, want the root and 4 leaves", got)
	}
}
