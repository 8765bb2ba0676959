package node

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Where a file is read here and there, what lies around comes as well: as much
// as the link carries in the time of an answer, more once it was of use, and
// nothing around the first Range or a probe, or one that was long in coming.
func TestWhatLiesAroundARangeComes(t *testing.T) {
	st, roots, all := gatedFiles(t, 100<<20)
	path := image.Path{Root: roots[0]}
	g := newGated(honest(t, st))
	p := newDelayProxy(t, strings.TrimPrefix(serveGateway(t, g), "http://"), 200*time.Millisecond)
	n := behind(t, patience, "http://"+p.addr())
	n.haunts.quick, n.haunts.limit = patience, patience // the machine may be slow where the link is not
	source := n.supply.sources()[0]
	expect := func(what string, at int64, want int) {
		t.Helper()
		source.mu.Lock()
		source.rate = 1 << 30 // that of the ranges before depends on the machine
		source.mu.Unlock()
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
	n.haunts.quick = quick
	late := g.hold(leafAt(t, n, path, 60<<20))
	time.AfterFunc(quick*3/2, func() { close(late) })
	expect("after a long wait", 60, 1)
	p.link.Store(&link{speed: 2 << 20})
	expect("on a slow link", 70, 1)
}

// leafAt is the block of a file that holds the byte at an offset.
func leafAt(t *testing.T, n *Node, path image.Path, off int64) cid.Cid {
	t.Helper()
	f, err := n.Open(within(t, patience), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := f.(*file).locate(off)
	if err != nil {
		t.Fatal(err)
	}
	return l.cid
}

// What comes around a Range is for nobody yet, and what is being prefetched of
// the same image goes on beside it. A reader makes it its own, and that of
// something else does not end it as it does the prefetch.
func TestWhatLiesAroundARangeComesForNobodyYet(t *testing.T) {
	const part = 4 << 20
	st, roots, all := gatedFiles(t, 8*part)
	root, path := roots[0], image.Path{Root: roots[0]}
	g := newGated(honest(t, st))
	n := behind(t, patience, serveGateway(t, g))
	n.prefetches.limit, n.haunts.limit = patience, patience
	readRange(t, n, path, 0, 1) // the root and the first leaf
	held := g.hold(root)
	n.Prefetch([]image.Part{{Path: path, From: part, To: 2 * part}})
	eventually(t, "the prefetch is under way", func() bool { return g.count(g.asked, root) == 2 })
	f, err := n.Open(within(t, patience), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	parts, _ := f.(*file).collect(3*part, 5*part)
	n.content.bring(image.Part{Path: path, From: 3 * part, To: 5 * part}, parts)
	eventually(t, "what is around is under way", func() bool { return g.count(g.asked, root) == 4 })
	if left := g.count(g.left, root); left != 0 {
		t.Errorf("%d requests were given up for what is around", left)
	}
	read := make(chan []byte, 1)
	go func() { read <- readRange(t, n, path, 3*part, 4*part) }()
	eventually(t, "the reader joins it", func() bool {
		n.supply.mu.Lock()
		defer n.supply.mu.Unlock()
		f := n.supply.flights[parts[0].wanted[0].cid]
		return f != nil && !n.supply.spare[f.job]
	})
	readRange(t, n, path, 7*part, 7*part+9) // one block, which is not held
	eventually(t, "the prefetch makes room", func() bool { return g.count(g.left, root) == 1 })
	close(held)
	if got := <-read; !bytes.Equal(got, all[0][3*part:4*part]) {
		t.Errorf("the reader got %d bytes", len(got))
	}
	eventually(t, "the prefetch goes on", func() bool { return prefetched(n) })
	if asked, left := g.count(g.asked, root), g.count(g.left, root); asked != 5 || left != 1 {
		t.Errorf("%d requests, of which %d were given up; want 5, the prefetch once more, and 1", asked, left)
	}
}

// However much the link carried so far, no more is under way for nobody than one of
// 1 MiB/s carries in two thirds of the time that a reader waits.
func TestMostAround(t *testing.T) {
	fast := &supplier{rate: 1 << 30, wait: time.Second}
	slow := &supplier{rate: 1 << 20, wait: time.Second}
	for _, c := range []struct {
		sources []*supplier
		timeout time.Duration
		want    int64
	}{
		{[]*supplier{slow, fast}, 3 * time.Second, 2 << 20},
		{[]*supplier{slow, fast}, 30 * time.Second, 20 << 20},
		{[]*supplier{slow}, 30 * time.Second, 1 << 20},
		{nil, 30 * time.Second, 0},
	} {
		s := newSupply(nil, c.timeout)
		s.sources = func() []*supplier { return c.sources }
		if got := (&content{supply: s, fetchTimeout: c.timeout}).mostAround(); got != c.want {
			t.Errorf("of %d sources within %s: %d bytes, want %d", len(c.sources), c.timeout, got, c.want)
		}
	}
}

// A link that becomes slow while something comes that nobody waits for is not
// taken by it for so long that a reader gives up.
func TestALinkBecomesSlow(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	data := randomBytes(16, 100<<20)
	path := image.Path{Root: addFile(t, seed, data)}
	p, addr := proxied(t, seed, 20*time.Millisecond)
	o := loopback(t.TempDir(), addr)
	o.FetchTimeout = 6 * time.Second
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
