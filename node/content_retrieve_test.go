package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/bitswap"
	bsnet "github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/exchange"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ipfs-registry/ipfs-registry/image"
)

func bigShape() shape { return shape{size: 20<<20 + 7, chunk: 1 << 20, links: 1024, raw: true} }

func TestColdReadsEqualTheOriginal(t *testing.T) {
	for _, s := range shapes() {
		for name, local := range map[string]*store{"in memory": memoryStore(t), "on disk": flatfsStore(t)} {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				remote := memoryStore(t)
				root, data := s.build(t, offlineContent(remote).dag)
				c := contentOn(local, newPeer(remote), time.Minute)
				f := openFile(t, c, image.Path{Root: root})
				if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("read %d bytes, %v; want %d", len(got), err, len(data))
				}
				testRandomReads(t, f, data)
				// What was retrieved has stayed.
				if got, err := io.ReadAll(openFile(t, offlineContent(local), image.Path{Root: root})); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("offline then read %d bytes, %v", len(got), err)
				}
			})
		}
	}
}

func TestColdRandomReads(t *testing.T) {
	for name, local := range map[string]*store{"in memory": memoryStore(t), "on disk": flatfsStore(t)} {
		t.Run(name, func(t *testing.T) {
			remote := memoryStore(t)
			root, data := bigShape().build(t, offlineContent(remote).dag)
			f := openFile(t, contentOn(local, newPeer(remote), time.Minute), image.Path{Root: root})
			testRandomReads(t, f, data)
		})
	}
}

func TestTwoReadersOfOneColdFile(t *testing.T) {
	remote := memoryStore(t)
	root, data := bigShape().build(t, offlineContent(remote).dag)
	c := contentOn(flatfsStore(t), newPeer(remote), time.Minute)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			f, err := c.Open(t.Context(), image.Path{Root: root})
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
}

// What is asked for follows the reader and is bounded.
func TestAsksAheadInBounds(t *testing.T) {
	remote := memoryStore(t)
	s := bigShape()
	s.size = 100 << 20
	root, _ := s.build(t, offlineContent(remote).dag)
	peer := newPeer(remote)
	f := openFile(t, contentOn(flatfsStore(t), peer, time.Minute), image.Path{Root: root})
	if n := peer.asked(); n != 2 {
		t.Fatalf("opening asked for %d blocks, want the root and the first leaf", n)
	}
	read := func(off, n int64, atMost int) {
		t.Helper()
		before := peer.asked()
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteNTo(io.Discard, n); err != nil {
			t.Fatal(err)
		}
		if got := peer.asked() - before; got > atMost {
			t.Errorf("%d bytes at %d asked for %d blocks, want at most %d", n, off, got, atMost)
		}
	}
	read(0, 2, 0)
	read(90<<20+5, 16<<10, 1)
	read(80<<20-5, 10, 2)
	read(60<<20, 3<<20, 3)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	before := peer.asked()
	if _, err := io.CopyN(onlyWriter{io.Discard}, onlyReader{f}, 2<<20); err != nil {
		t.Fatal(err)
	}
	// The window is 4 MiB at the first leaf and 8 MiB at the second.
	if got := peer.asked() - before; got > 9 {
		t.Errorf("reading two leaves asked for %d more", got)
	}
}

type onlyReader struct{ io.Reader }

// stalled is a content whose only peer has some of the blocks.
func stalled(t *testing.T, timeout time.Duration, has func(root cid.Cid, leaves []cid.Cid) []cid.Cid) (*content, cid.Cid, *peerExchange) {
	full, remote := memoryStore(t), memoryStore(t)
	from := offlineContent(full)
	root, _ := bigShape().build(t, from.dag)
	nd, err := from.dag.Get(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	var leaves []cid.Cid
	for _, link := range nd.Links() {
		leaves = append(leaves, link.Cid)
	}
	for _, c := range has(root, leaves) {
		b, err := full.Get(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	peer := newPeer(remote)
	return contentOn(memoryStore(t), peer, timeout), root, peer
}

// A synctest bubble fails when a goroutine is left over, so these tests are
// the ones for leaks as well.

func TestNobodyHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root, _ := stalled(t, 30*time.Second, func(cid.Cid, []cid.Cid) []cid.Cid { return nil })
		begun := time.Now()
		_, err := c.Open(t.Context(), image.Path{Root: root})
		if image.ClassOf(err) != image.Unavailable {
			t.Fatalf("got %v", err)
		}
		if waited := time.Since(begun); waited != 30*time.Second {
			t.Errorf("it took %s", waited)
		}
		for _, text := range []string{"open /ipfs/" + root.String(), "30s", "asking the connected peers", "0 providers", "0 blocks", "--peer", "pin it"} {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("the error does not say %q: %v", text, err)
			}
		}
		if got := testutil.ToFloat64(c.supply.metrics.errors.WithLabelValues(exchangeLabel)); got != 2 { // after 5 s and 10 more
			t.Errorf("that the exchange brings nothing is counted %v times", got)
		}
	})
}

func TestStallsInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root, _ := stalled(t, 30*time.Second, func(root cid.Cid, leaves []cid.Cid) []cid.Cid { return append(leaves[:3], root) })
		f, err := c.Open(t.Context(), image.Path{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		begun := time.Now()
		n, err := io.Copy(io.Discard, onlyReader{f})
		if n != 3<<20 || image.ClassOf(err) != image.Unavailable || time.Since(begun) != 30*time.Second {
			t.Errorf("read %d bytes and %v in %s", n, err, time.Since(begun))
		}
		for _, text := range []string{"read /ipfs/" + root.String(), "while transferring", "4 blocks with 3"} {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("the error does not say %q: %v", text, err)
			}
		}
	})
}

// As long as something arrives within the time-out the reader waits on.
func TestSlowIsNotStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root, peer := stalled(t, 30*time.Second, func(root cid.Cid, leaves []cid.Cid) []cid.Cid { return append(leaves, root) })
		var turn time.Duration
		gates := map[cid.Cid]chan struct{}{} // a peer sends a block once, however often it is asked
		peer.gate = func(c cid.Cid) <-chan struct{} {
			peer.mu.Lock()
			defer peer.mu.Unlock()
			if gates[c] != nil {
				return gates[c]
			}
			turn += 20 * time.Second
			gate := make(chan struct{})
			gates[c] = gate
			time.AfterFunc(turn-time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), func() { close(gate) })
			return gate
		}
		begun := time.Now()
		f, err := c.Open(t.Context(), image.Path{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if n, err := io.Copy(io.Discard, onlyReader{f}); err != nil || n != f.Size() {
			t.Errorf("read %d bytes, %v", n, err)
		}
		if waited := time.Since(begun); waited < 5*time.Minute {
			t.Errorf("it took only %s", waited)
		}
	})
}

func TestCancelEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root, _ := stalled(t, time.Hour, func(root cid.Cid, leaves []cid.Cid) []cid.Cid { return append(leaves[:1], root) })
		ctx, cancel := context.WithCancel(t.Context())
		f, err := c.Open(ctx, image.Path{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		time.AfterFunc(time.Second, cancel)
		begun := time.Now()
		n, err := io.Copy(io.Discard, onlyReader{f})
		if n != 1<<20 || !errors.Is(err, context.Canceled) || time.Since(begun) != time.Second {
			t.Errorf("read %d bytes and %v in %s", n, err, time.Since(begun))
		}
	})
}

func TestCloseEndsWhatWasAskedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root, peer := stalled(t, time.Hour, func(root cid.Cid, leaves []cid.Cid) []cid.Cid { return append(leaves[:1], root) })
		f, err := c.Open(t.Context(), image.Path{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := peer.asked(); n < 4 {
			t.Errorf("only %d blocks were asked for", n)
		}
		f.Close()
	})
}

// A seek away gives up what was asked ahead.
func TestSeekMovesTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root, peer := stalled(t, time.Hour, func(root cid.Cid, leaves []cid.Cid) []cid.Cid {
			return append(leaves[15:], leaves[0], root)
		})
		opened, err := c.Open(t.Context(), image.Path{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		if _, err := opened.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		f := opened.(*file)
		synctest.Wait()
		waiting := goroutines("synctest bubble")
		if _, err := f.Seek(16<<20, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if left := goroutines("synctest bubble"); left >= waiting {
			t.Errorf("%d goroutines before the seek and %d after", waiting, left)
		}
		if n := len(f.retrieval.wants); n != 0 {
			t.Errorf("%d blocks are still wanted", n)
		}
		if n := peer.asked(); n != 2+3+1 {
			t.Errorf("%d blocks were asked for", n)
		}
	})
}

// goroutines counts those of which a stack trace says something. What
// runtime.NumGoroutine counts is now and then not so.
func goroutines(says string) int {
	buf := make([]byte, 4<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), says)
}

func TestOfflineFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := offlineContent(memoryStore(t))
		absent := cid.NewCidV1(cid.DagProtobuf, testHash(t, []byte("absent")))
		begun := time.Now()
		_, err := c.Open(t.Context(), image.Path{Root: absent, Rest: "blobs/x"})
		if image.ClassOf(err) != image.Unavailable || !strings.Contains(err.Error(), "the node is offline") || time.Since(begun) > 0 {
			t.Errorf("got %v after %s", err, time.Since(begun))
		}
	})
}

// bitswapHost is a libp2p host on loopback that speaks Bitswap.
func bitswapHost(t *testing.T, st *store) (host.Host, exchange.Interface) {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	network := bsnet.NewFromIpfsHost(h)
	ex := bitswap.New(ctx, network, nil, st.Blockstore)
	network.Start(ex)
	t.Cleanup(func() { ex.Close(); network.Stop(); cancel(); h.Close() })
	return h, ex
}

func TestRetrievesOverBitswap(t *testing.T) {
	remote, local := memoryStore(t), flatfsStore(t)
	serving, _ := bitswapHost(t, remote)
	reading, ex := bitswapHost(t, local)
	if err := reading.Connect(t.Context(), peer.AddrInfo{ID: serving.ID(), Addrs: serving.Addrs()}); err != nil {
		t.Fatal(err)
	}
	legacy := shape{size: 60 << 20, chunk: 256 << 10, links: 174, raw: true}
	for _, s := range []shape{bigShape(), legacy} {
		root, data := s.build(t, offlineContent(remote).dag)
		f := openFile(t, contentOn(local, ex, 10*time.Second), image.Path{Root: root})
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, data) {
			t.Errorf("read %d bytes, %v; want %d", len(got), err, len(data))
		}
	}
	absent := merkledag.NewRawNode([]byte("nobody has this")).Cid()
	_, err := contentOn(local, ex, 200*time.Millisecond).Open(t.Context(), image.Path{Root: absent})
	if image.ClassOf(err) != image.Unavailable {
		t.Errorf("an absent block gave %v", err)
	}
}
