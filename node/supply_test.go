package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

func quietLog() *log.Logger { return slog.NewLogLogger(slog.DiscardHandler, 0) } //nolint:forbidigo // what an http.Server takes

func addFile(t testing.TB, n *Node, data []byte) cid.Cid {
	t.Helper()
	c, err := n.AddFile(t.Context(), bytes.NewReader(data), publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func blocksFrom(n *Node, label string) int {
	return int(testutil.ToFloat64(n.supply.metrics.blocks.WithLabelValues(label)))
}

// Several peers that have a file share it, whatever was known of them before.
func TestPeersShareAFile(t *testing.T) {
	data := randomBytes(7, 144<<20)
	var root cid.Cid
	var all []string
	for range 2 {
		seed := startNode(t, loopback(t.TempDir()))
		root = addFile(t, seed, data)
		_, addr := proxied(t, seed, 10*time.Millisecond)
		all = append(all, addr)
	}
	// The machine may be busy once, and one of them seem slow for it.
	for range 3 {
		if least := sharedBy(t, all, root, data); least >= int64(len(data)/8) {
			return
		}
	}
	t.Error("one of them sent less than an eighth, each time")
}

// sharedBy has a new node read a file from peers, and returns what the one sent that
// sent the least.
func sharedBy(t *testing.T, peers []string, root cid.Cid, data []byte) (least int64) {
	t.Helper()
	n := startNode(t, loopback(t.TempDir(), peers...))
	eventually(t, "all speak HTTP", func() bool { return len(n.supply.sources()) == len(peers) })
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	least = int64(len(data))
	for _, s := range n.supply.sources() {
		t.Logf("%s sent %d of %d bytes", s.name, s.received.Load(), len(data))
		least = min(least, s.received.Load())
	}
	return least
}

// Peers of ours send streams, and nothing comes twice.
func TestPeersStream(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	data := randomBytes(5, 40<<20)
	root := addFile(t, seed, data)
	n := startNode(t, loopback(t.TempDir(), address(t, seed)))
	speaksHTTP(t, n)
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if got := blocksFrom(n, peerLabel); got != 41 {
		t.Errorf("%d blocks came by streams, want 41", got)
	}
	if got := blocksFrom(n, exchangeLabel); got != 0 {
		t.Errorf("%d blocks came by Bitswap; asked were %s", got, toldOf(n, root))
	}
}

// toldOf says how the sources did that were asked for a DAG.
func toldOf(n *Node, root cid.Cid) string {
	t, ok := n.supply.trails.Get(root)
	if !ok {
		return "none"
	}
	return t.tell()
}

// Thirty readers, at different places, cost what one does.
func TestReadersShare(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	data := randomBytes(6, 30<<20)
	root := addFile(t, seed, data)
	p, addr := proxied(t, seed, 5*time.Millisecond)
	n := startNode(t, loopback(t.TempDir(), addr))
	speaksHTTP(t, n)
	var readers sync.WaitGroup
	for i := range 30 {
		readers.Go(func() {
			f, err := n.Open(t.Context(), image.Path{Root: root})
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			from := int64(i%3) * (5 << 20)
			if _, err := f.Seek(from, io.SeekStart); err != nil {
				t.Error(err)
			}
			var got bytes.Buffer
			if _, err := f.(image.LimitedWriterTo).WriteNTo(&got, f.Size()-from); err != nil || !bytes.Equal(got.Bytes(), data[from:]) {
				t.Errorf("read %d bytes from %d on, %v", got.Len(), from, err)
			}
		})
	}
	readers.Wait()
	if got := blocksFrom(n, peerLabel) + blocksFrom(n, exchangeLabel); got != 31 {
		t.Errorf("%d blocks came, want 31", got)
	}
	if got := p.received.Load(); got > 33<<20 {
		t.Errorf("%d bytes crossed for %d", got, len(data))
	}
}

// The death of a peer in the middle is not noticed while another has the rest.
func TestPeerDies(t *testing.T) {
	data := randomBytes(7, 60<<20)
	var proxies []*delayProxy
	var addrs []string
	var root cid.Cid
	for range 2 {
		seed := startNode(t, loopback(t.TempDir()))
		root = addFile(t, seed, data)
		p, addr := proxied(t, seed, 20*time.Millisecond)
		proxies, addrs = append(proxies, p), append(addrs, addr)
	}
	n := startNode(t, loopback(t.TempDir(), addrs...))
	eventually(t, "both peers", func() bool { return len(n.supply.sources()) == 2 })
	f, err := n.Open(t.Context(), image.Path{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got bytes.Buffer
	cut := sync.OnceFunc(func() {
		busiest := proxies[0]
		if proxies[1].received.Load() > busiest.received.Load() {
			busiest = proxies[1]
		}
		_ = busiest.listener.Close()
		busiest.cut()
	})
	w := writerFunc(func(p []byte) (int, error) {
		if got.Len() > 8<<20 {
			cut()
		}
		return got.Write(p)
	})
	if _, err := f.(image.LimitedWriterTo).WriteNTo(w, f.Size()); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("read %d bytes, %v", got.Len(), err)
	}
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// What a stream brought is stored for all who wait for it, though the stream ends
// meanwhile.
func TestAStreamEndsWhileItsBlockIsBeingStored(t *testing.T) {
	s := newSupply(func(context.Context) ipld.NodeGetter { return silent{} }, patience)
	data := randomBytes(5, 9)
	c := cid.NewCidV1(cid.Raw, testHash(t, data))
	stream, end := context.WithCancel(t.Context())
	s.keep = func(ctx context.Context, _ blocks.Block) error {
		end()
		return ctx.Err()
	}
	trail := s.follow(c)
	defer trail.leave()
	var got ipld.Node
	rest := s.bring(within(t, patience), trail, single(c), func(nd ipld.Node) { got = nd })
	if taken, err := s.take(stream, c, data, func() {}); !taken || err != nil {
		t.Fatal(taken, err)
	}
	if err := rest(); err != nil || !bytes.Equal(got.RawData(), data) {
		t.Errorf("%v: %v", got, err)
	}
}

// What came before a pull was cut off does not come again, and the last reader
// who leaves stops it.
func TestResumes(t *testing.T) {
	st := memoryStore(t)
	root, data := shape{size: 60 << 20, chunk: 1 << 20, links: 1024, raw: true}.build(t, offlineContent(st).dag)
	g := newGated(honest(t, st))
	url := serveGateway(t, g)
	n := behind(t, patience, url)
	ctx, cancel := context.WithCancel(t.Context())
	f, err := n.Open(ctx, image.Path{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	came := g.count(g.asked, root)
	held := g.hold(root)
	pulled := make(chan error, 1)
	go func() { pulled <- drain(f) }()
	eventually(t, "the rest is asked for", func() bool { return g.count(g.asked, root) > came })
	cancel()
	if err := <-pulled; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	_ = f.Close()
	eventually(t, "the last reader stops it", func() bool {
		n.supply.mu.Lock()
		defer n.supply.mu.Unlock()
		return len(n.supply.flights) == 0 && g.count(g.left, root) == g.count(g.asked, root)-came
	})
	close(held)
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if got := int(testutil.ToFloat64(n.supply.metrics.blocks.WithLabelValues(url[len("http://"):]))); got != 61 {
		t.Errorf("%d blocks were taken in, want 61", got)
	}
}

// Two images that share a layer: who leaves first does not end it for the other.
func TestReadersOfOneFileByTwoRoots(t *testing.T) {
	st := memoryStore(t)
	root, data := bigShape().build(t, offlineContent(st).dag)
	good := honest(t, st)
	gate := make(chan struct{})
	var asked atomic.Int32
	url := serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isProbe(r) && asked.Add(1) == 1 {
			<-gate
		}
		good.ServeHTTP(w, r)
	}))
	n := behind(t, patience, url)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := n.Open(ctx, image.Path{Root: root})
		first <- err
	}()
	eventually(t, "the gateway is asked", func() bool { return asked.Load() == 1 })
	second := make(chan error, 1)
	go func() {
		got, err := readCold(t, n, image.Path{Root: root})
		if err == nil && !bytes.Equal(got, data) {
			err = errors.New("other bytes")
		}
		second <- err
	}()
	eventually(t, "the second joins", func() bool {
		n.supply.mu.Lock()
		defer n.supply.mu.Unlock()
		f := n.supply.flights[root]
		return f != nil && len(f.waiters) == 2
	})
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first got %v", err)
	}
	close(gate)
	if err := <-second; err != nil {
		t.Errorf("the second got %v", err)
	}
	if asked.Load() > 10 {
		t.Errorf("%d requests", asked.Load())
	}
}

func FuzzReadCAR(f *testing.F) {
	f.Add([]byte{})
	f.Add(unwanted())
	f.Fuzz(func(t *testing.T, body []byte) {
		s := newSupply(nil, time.Second)
		c := cid.NewCidV1(cid.Raw, testHash(t, []byte("never sent")))
		tr := s.follow(c)
		defer tr.leave()
		s.mu.Lock()
		j := s.newJob(tr, batch{span: span{root: c, to: 1}})
		j.add(wanted{cid: c})
		s.mu.Unlock()
		defer j.fail(errDropped)
		w := j.watch(&supplier{})
		if err := w.end(j.readCAR(w, &io.LimitedReader{R: bytes.NewReader(body), N: 1 << 20})); err == nil {
			t.Error("an answer without the block was taken for one with it")
		}
	})
}

// silent is a session that has lost what it was asked for.
type silent struct{}

func (silent) Get(ctx context.Context, _ cid.Cid) (ipld.Node, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (silent) GetMany(context.Context, []cid.Cid) <-chan *ipld.NodeOption { return nil }

func TestAsksAnewWhatASessionHasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memoryStore(t)
		c := offlineContent(st)
		root, data := shape{size: 3<<20 + 5, chunk: 1 << 20, links: 5, raw: true}.build(t, c.dag)
		session, sessions := c.supply.session, 0
		c.supply.session = func(ctx context.Context) ipld.NodeGetter {
			if sessions++; sessions == 1 {
				return silent{}
			}
			return session(ctx)
		}
		begun := time.Now()
		f, err := c.Open(t.Context(), image.Path{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, err := io.ReadAll(f)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		if sessions < 2 || time.Since(begun) < askAnewAfter {
			t.Errorf("%d sessions were asked, within %s", sessions, time.Since(begun))
		}
	})
}
