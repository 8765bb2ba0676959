package node

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// readRange reads the bytes [from, to) as the registry does for a Range.
func readRange(t *testing.T, n *Node, p image.Path, from, to int64) []byte {
	t.Helper()
	f, err := n.Open(image.First{From: from, To: to}.In(within(t, patience)), p)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		t.Error(err)
	}
	var got bytes.Buffer
	if _, err := f.(image.LimitedWriterTo).WriteNTo(&got, to-from); err != nil {
		t.Error(err)
	}
	return got.Bytes()
}

// A Range of what is far brings the blocks that hold it and those that lead to
// it, in one stream, and none besides.
func TestAColdRangeBringsWhatItNeeds(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	data := randomBytes(14, 119<<20)
	root := addDir(t, seed, data)
	path := image.Path{Root: root}.Join("blobs", "sha256", "x")
	n := startNode(t, loopback(t.TempDir(), address(t, seed)))
	speaksHTTP(t, n)
	blocks := func() int { return blocksFrom(n, peerLabel) + blocksFrom(n, exchangeLabel) }

	end := int64(len(data))
	if got := readRange(t, n, path, end-51, end); !bytes.Equal(got, data[end-51:]) {
		t.Errorf("a footer of %d bytes", len(got))
	}
	// Three directories, the file's root, and a leaf.
	if got := blocks(); got != 5 {
		t.Errorf("%d blocks came for a footer; want 5", got)
	}
	if got := readRange(t, n, path, 50<<20-10, 50<<20+10); !bytes.Equal(got, data[50<<20-10:50<<20+10]) {
		t.Errorf("a range of %d bytes", len(got))
	}
	if got := blocks(); got != 7 {
		t.Errorf("%d blocks came after a range over two leaves; want 7", got)
	}

	// Many at once, and each block once.
	var all sync.WaitGroup
	leaves := map[int64]bool{}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		from := 60<<20 + random.Int64N(30<<20)
		leaves[from>>20], leaves[(from+16<<10-1)>>20] = true, true
		all.Go(func() {
			if got := readRange(t, n, path, from, from+16<<10); !bytes.Equal(got, data[from:from+16<<10]) {
				t.Errorf("at %d: %d bytes", from, len(got))
			}
		})
	}
	all.Wait()
	if got := blocks(); got != 7+len(leaves) {
		t.Errorf("%d blocks came; want %d", got, 7+len(leaves))
	}
}
