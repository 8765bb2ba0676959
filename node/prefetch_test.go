package node

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// gated is a gateway that keeps requests for some CIDs waiting.
type gated struct {
	http.Handler
	mu    sync.Mutex
	asked map[string]int
	held  map[string]chan struct{}
	left  map[string]int // how many went away while they waited
}

func newGated(h http.Handler, hold ...cid.Cid) *gated {
	g := &gated{Handler: h, asked: map[string]int{}, held: map[string]chan struct{}{}, left: map[string]int{}}
	for _, c := range hold {
		g.hold(c)
	}
	return g
}

// hold keeps requests for c waiting from now on.
func (g *gated) hold(c cid.Cid) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	held := make(chan struct{})
	g.held[c.String()] = held
	return held
}

func (g *gated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/ipfs/"), "/")
	g.mu.Lock()
	if !isProbe(r) {
		g.asked[c]++
	}
	held := g.held[c]
	g.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-r.Context().Done():
			g.mu.Lock()
			g.left[c]++
			g.mu.Unlock()
			return
		}
	}
	g.Handler.ServeHTTP(w, r)
}

func (g *gated) count(of map[string]int, c cid.Cid) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return of[c.String()]
}

// all returns what was asked for, and how often.
func (g *gated) all() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.asked)
}

// prefetched reports whether nothing is being prefetched any more.
func prefetched(n *Node) bool {
	n.prefetches.mu.Lock()
	defer n.prefetches.mu.Unlock()
	return len(n.prefetches.pending) == 0
}

func gatedFiles(t *testing.T, sizes ...int) (*store, []cid.Cid, [][]byte) {
	st := memoryStore(t)
	var roots []cid.Cid
	var all [][]byte
	for _, size := range sizes {
		root, data := shape{size: size, chunk: 1 << 20, links: 1024, raw: true}.build(t, offlineContent(st).dag)
		roots, all = append(roots, root), append(all, data)
	}
	return st, roots, all
}

// What is prefetched is on the disk when it is opened, and it is no more than
// was asked for.
func TestPrefetch(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	large, small := randomBytes(10, 40<<20), randomBytes(11, 100_000)
	root := addDir(t, seed, large)
	other := addFile(t, seed, small)
	p, addr := proxied(t, seed, 5*time.Millisecond)
	n := startNode(t, loopback(t.TempDir(), addr))
	speaksHTTP(t, n)
	path := image.Path{Root: root}.Join("blobs", "sha256", "x")
	n.Prefetch([]image.Part{{Path: image.Path{Root: other}, To: 100_000}, {Path: path, To: 6 << 20}})
	eventually(t, "the prefetch ends", func() bool { return prefetched(n) })
	if got := p.received.Load(); got < 6<<20 || got > 16<<20 {
		t.Errorf("%d bytes crossed for 6 MiB", got)
	}
	if err := seed.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the peer is gone", func() bool { return len(n.supply.sources()) == 0 })
	f, err := n.Open(within(t, patience), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, 6<<20)
	if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, large[:6<<20]) {
		t.Errorf("what was prefetched is not there: %v", err)
	}
	if got, err := readCold(t, n, image.Path{Root: other}); err != nil || !bytes.Equal(got, small) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// What is here is not asked for.
func TestPrefetchOfWhatIsHere(t *testing.T) {
	st, roots, _ := gatedFiles(t, 5<<20)
	g := newGated(honest(t, st))
	n := behind(t, patience, serveGateway(t, g))
	if _, err := readCold(t, n, image.Path{Root: roots[0]}); err != nil {
		t.Fatal(err)
	}
	before := g.count(g.asked, roots[0])
	n.Prefetch([]image.Part{{Path: image.Path{Root: roots[0]}, To: 5 << 20}})
	eventually(t, "the prefetch ends", func() bool { return prefetched(n) })
	if got := g.count(g.asked, roots[0]); got != before {
		t.Errorf("%d requests more", got-before)
	}
}

// A reader joins what is being prefetched, and keeps it going.
func TestReaderJoinsAPrefetch(t *testing.T) {
	st, roots, all := gatedFiles(t, 3<<20)
	g := newGated(honest(t, st), roots[0])
	n := behind(t, patience, serveGateway(t, g))
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.prefetch(ctx, image.Part{Path: image.Path{Root: roots[0]}, To: 3 << 20}) }()
	eventually(t, "the gateway is asked", func() bool { return g.count(g.asked, roots[0]) == 1 })
	read := make(chan error, 1)
	go func() {
		got, err := readCold(t, n, image.Path{Root: roots[0]})
		if err == nil && !bytes.Equal(got, all[0]) {
			err = io.ErrUnexpectedEOF
		}
		read <- err
	}()
	eventually(t, "the reader joins", func() bool {
		n.supply.mu.Lock()
		defer n.supply.mu.Unlock()
		f := n.supply.flights[roots[0]]
		return f != nil && len(f.waiters) == 2
	})
	cancel(errMoved) // as after its time
	if err := <-done; err == nil {
		t.Error("it was not given up")
	}
	close(g.held[roots[0].String()])
	if err := <-read; err != nil {
		t.Error(err)
	}
	if got := g.count(g.asked, roots[0]); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

// A reader of more than is being prefetched has the rest come beside it: what
// was on the way does not cross the network twice.
func TestReaderOfMoreThanAPrefetch(t *testing.T) {
	const part = 4 << 20
	st, roots, all := gatedFiles(t, 4*part)
	root, path := roots[0], image.Path{Root: roots[0]}
	for range 5 { // in which order it asks for the parts is by chance
		g := newGated(honest(t, st))
		n := behind(t, patience, serveGateway(t, g))
		n.prefetches.limit = patience
		readRange(t, n, path, 0, 1)
		held := g.hold(root)
		n.Prefetch([]image.Part{{Path: path, From: part, To: 2 * part}, {Path: path, From: 2 * part, To: 3 * part}})
		eventually(t, "the gateway is asked for two parts", func() bool { return g.count(g.asked, root) == 3 })
		read := make(chan error, 1)
		go func() {
			got, err := readCold(t, n, path)
			if err == nil && !bytes.Equal(got, all[0]) {
				err = io.ErrUnexpectedEOF
			}
			read <- err
		}()
		eventually(t, "the gateway is asked for the others", func() bool { return g.count(g.asked, root) >= 5 })
		close(held)
		if err := <-read; err != nil {
			t.Error(err)
		}
		if asked, left := g.count(g.asked, root), g.count(g.left, root); asked != 5 || left != 0 {
			t.Errorf("%d requests, of which %d were given up, want 5 and none", asked, left)
		}
	}
}

// Who sees a page finds what comes after it under way, and does not ask for it
// once more.
func TestWhatAPageLeadsToIsExpected(t *testing.T) {
	st, roots, all := gatedFiles(t, 3<<20)
	n := behind(t, patience, serveGateway(t, honest(t, st)))
	keep, links := n.supply.keep, 0
	n.supply.keep = func(ctx context.Context, b blocks.Block) error {
		nd, err := decode(b)
		if err != nil {
			return err
		}
		n.supply.mu.Lock()
		for _, l := range nd.Links() {
			if n.supply.flights[l.Cid] == nil {
				t.Errorf("%s is not under way while %s is being stored", l.Cid, b.Cid())
			}
			links++
		}
		n.supply.mu.Unlock()
		return keep(ctx, b)
	}
	if got, err := readCold(t, n, image.Path{Root: roots[0]}); err != nil || !bytes.Equal(got, all[0]) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if links == 0 {
		t.Error("no page came")
	}
}

// A reader of something else comes first, and then the prefetch goes on.
func TestPrefetchYields(t *testing.T) {
	st, roots, all := gatedFiles(t, 3<<20, 2<<20)
	g := newGated(honest(t, st), roots[0])
	n := behind(t, patience, serveGateway(t, g))
	n.prefetches.limit = patience
	n.Prefetch([]image.Part{{Path: image.Path{Root: roots[0]}, To: 3 << 20}})
	eventually(t, "the gateway is asked", func() bool { return g.count(g.asked, roots[0]) == 1 })
	if got, err := readCold(t, n, image.Path{Root: roots[1]}); err != nil || !bytes.Equal(got, all[1]) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	eventually(t, "it gives way", func() bool { return g.count(g.left, roots[0]) >= 1 })
	close(g.held[roots[0].String()])
	eventually(t, "it goes on", func() bool { return prefetched(n) })
	if got := g.count(g.asked, roots[0]); got < 2 {
		t.Errorf("%d requests, want another", got)
	}
}

// What nobody opens is given up after a time, and when the node closes.
func TestPrefetchEnds(t *testing.T) {
	st, roots, _ := gatedFiles(t, 3<<20)
	g := newGated(honest(t, st), roots[0])
	n := behind(t, patience, serveGateway(t, g))
	n.prefetches.limit = 50 * time.Millisecond
	part := []image.Part{{Path: image.Path{Root: roots[0]}, To: 3 << 20}}
	n.Prefetch(part)
	eventually(t, "it is given up", func() bool { return g.count(g.left, roots[0]) == 1 && prefetched(n) })
	n.prefetches.limit = time.Hour
	n.Prefetch(part)
	n.Prefetch(part)
	eventually(t, "the gateway is asked", func() bool { return g.count(g.asked, roots[0]) == 2 })
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is given up", func() bool { return g.count(g.left, roots[0]) == 2 })
	n.Prefetch(part)
	if !prefetched(n) {
		t.Error("a closed node prefetches")
	}
}

// The layers come once the manifest is read, with nobody having asked for them.
func TestLayersComeWithTheManifest(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	b := imagetest.Blobs{}
	layers := [][]byte{randomBytes(12, 1500), randomBytes(13, 3<<20)}
	root := b.Layout(adder{t, seed.content}, nil, b.Image("amd64", layers...))
	n := startNode(t, loopback(t.TempDir(), address(t, seed)))
	speaksHTTP(t, n)
	m, err := newResolver(n.content).Manifest(t.Context(), image.Path{Root: root}, "latest")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	came := func(data []byte) bool {
		c, err := offlineContent(memoryStore(t)).AddFile(t.Context(), bytes.NewReader(data), publish.UnixFSv1)
		if err != nil {
			t.Fatal(err)
		}
		f := newFile(t.Context(), n.content, image.Path{Root: c})
		defer f.Close()
		nd, here := n.supply.look(t.Context(), c)
		if !here {
			return false
		}
		if f.root, err = parsePage(nd); err != nil {
			t.Fatal(err)
		}
		missing, _ := f.collect(0, int64(len(data)))
		return len(missing) == 0
	}
	if came(layers[0]) || came(layers[1]) {
		t.Fatal("the layers came before the manifest was read")
	}
	if _, err := io.Copy(io.Discard, m); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the layers come", func() bool { return came(layers[0]) && came(layers[1]) })
}

// On a slow link what is prefetched does not keep from a reader what it opens.
func TestPrefetchOnASlowLink(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	var parts []image.Part
	var want [][]byte
	const files = 16
	for i := range files {
		want = append(want, randomBytes(byte(30+i), 1<<20))
		parts = append(parts, image.Part{Path: image.Path{Root: addFile(t, seed, want[i])}, To: 1 << 20})
	}
	want = append(want, randomBytes(60, 9<<20))
	parts = append(parts, image.Part{Path: image.Path{Root: addFile(t, seed, want[files])}, To: 8 << 20})
	p, addr := proxied(t, seed, 20*time.Millisecond)
	o := loopback(t.TempDir(), addr)
	o.FetchTimeout = 6 * time.Second // for half of what is prefetched
	n := startNode(t, o)
	speaksHTTP(t, n)
	p.link.Store(&link{speed: 2 << 20})
	n.Prefetch(parts)
	for i, part := range parts {
		if got, err := readCold(t, n, part.Path); err != nil || !bytes.Equal(got, want[i]) {
			t.Errorf("%d: read %d bytes, %v", i, len(got), err)
		}
	}
}
