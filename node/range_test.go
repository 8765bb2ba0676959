package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

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
	n.haunts.max = 0 // nothing around them
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

// readRanges reads ranges as the registry does for a request with several.
func readRanges(ctx context.Context, n *Node, p image.Path, ranges []image.Range) ([]byte, error) {
	f, err := n.Open(image.First{From: ranges[0].From, To: ranges[0].To, Then: ranges[1:]}.In(ctx), p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var got bytes.Buffer
	for _, r := range ranges {
		if err := readOne(&got, f, r); err != nil {
			return nil, err
		}
	}
	return got.Bytes(), nil
}

func readOne(to io.Writer, f image.File, r image.Range) error {
	if _, err := f.Seek(r.From, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyN(to, f, r.To-r.From)
	return err
}

// Ranges that are asked for together come together, once the first has come in
// time: none waits for another, and no more comes than the blocks that hold them.
func TestRangesOfOneRequestComeSideBySide(t *testing.T) {
	st, roots, all := gatedFiles(t, 60<<20)
	root, path := roots[0], image.Path{Root: roots[0]}
	g := newGated(honest(t, st))
	n := behind(t, patience, serveGateway(t, g))
	n.haunts.max = 0 // nothing around them
	ranges, want := []image.Range{{From: 50 << 20, To: 50<<20 + 9}}, all[0][50<<20:50<<20+9]
	for from := int64(9<<20 - 5); from < 40<<20; from += 4 << 20 {
		ranges, want = append(ranges, image.Range{From: from, To: from + 10}), append(want, all[0][from:from+10]...)
	}
	readRange(t, n, path, 0, 1) // the root and the first leaf
	label := n.supply.sources()[0].label
	before := blocksFrom(n, label)
	held := g.hold(root)
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := readRanges(t.Context(), n, path, ranges)
		done <- result{data, err}
	}()
	// The first is one block, which is asked for by its CID and not held.
	eventually(t, "all are asked for", func() bool { return g.count(g.asked, root) == len(ranges) })
	close(held)
	if got := <-done; got.err != nil || !bytes.Equal(got.data, want) {
		t.Errorf("read %d bytes, %v; want %d", len(got.data), got.err, len(want))
	}
	if got := blocksFrom(n, label) - before; got != 1+2*(len(ranges)-1) {
		t.Errorf("%d blocks came for a range in one and %d over two", got, len(ranges)-1)
	}
}

// A reader that goes away leaves nothing behind, and what it waited for comes
// for the next.
func TestARangeThatIsGivenUp(t *testing.T) {
	st, roots, all := gatedFiles(t, 60<<20)
	root, path := roots[0], image.Path{Root: roots[0]}
	g := newGated(honest(t, st))
	n := behind(t, patience, serveGateway(t, g))
	n.haunts.max = 0 // nothing around them
	readRange(t, n, path, 0, 1)
	for _, ranges := range [][]image.Range{
		{{From: 9<<20 - 4, To: 9<<20 + 5}},
		{{From: 15 << 20, To: 15<<20 + 5}, {From: 21<<20 - 4, To: 21<<20 + 5}, {From: 30<<20 - 4, To: 30<<20 + 5}}, // the first is not held
	} {
		over := (len(ranges) + 1) / 2
		idle := goroutines("\ngoroutine ")
		asked, left := g.count(g.asked, root), g.count(g.left, root)
		held := g.hold(root)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := readRanges(ctx, n, path, ranges); done <- err }()
		eventually(t, "the gateway is asked", func() bool { return g.count(g.asked, root) == asked+over })
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the reader ended with %v", err)
		}
		eventually(t, "the gateway is left", func() bool { return g.count(g.left, root) == left+over })
		eventually(t, "nothing goes on", func() bool { return goroutines("\ngoroutine ") <= idle })
		close(held)
		r := ranges[len(ranges)-1]
		if got := readRange(t, n, path, r.From, r.To); !bytes.Equal(got, all[0][r.From:r.To]) {
			t.Errorf("the next reader got %d bytes", len(got))
		}
	}
}

// On a slow link ranges come one after the other: side by side all of them would
// come so late that a reader gives up before the first is there.
func TestRangesOnASlowLink(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	data := randomBytes(15, 30<<20)
	path := image.Path{Root: addFile(t, seed, data)}
	p, addr := proxied(t, seed, 0)
	o := loopback(t.TempDir(), addr)
	o.FetchTimeout = 3 * time.Second
	n := startNode(t, o)
	speaksHTTP(t, n)
	readRange(t, n, path, 0, 1)
	p.link.Store(&link{speed: 2 << 20})
	var ranges []image.Range
	for from := int64(2 << 20); from < 22<<20; from += 2 << 20 {
		ranges = append(ranges, image.Range{From: from, To: from + 9})
	}
	f, err := n.Open(image.First{From: ranges[0].From, To: ranges[0].To, Then: ranges[1:]}.In(within(t, patience)), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, r := range ranges {
		var got bytes.Buffer
		if err := readOne(&got, f, r); err != nil || !bytes.Equal(got.Bytes(), data[r.From:r.To]) {
			t.Fatalf("at %d: %d bytes, %v", r.From, got.Len(), err)
		}
		n.supply.mu.Lock()
		if others := len(n.supply.flights); others > 0 {
			t.Errorf("at %d: %d other blocks are under way", r.From, others)
		}
		n.supply.mu.Unlock()
	}
}
