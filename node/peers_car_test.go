package node

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipld/go-car/v2"
)

// blocksOf reads a CAR, whose blocks are verified.
func blocksOf(t testing.TB, r io.Reader) (roots []cid.Cid, all []string) {
	t.Helper()
	br, err := car.NewBlockReader(r)
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, err := br.Next()
		if err == io.EOF {
			return br.Roots, all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b.Cid().String())
	}
}

// What is sent by the short way is what boxo's gateway sends.
func TestPeersGetTheSameCAR(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	good := honest(t, &store{Blockstore: kuboOf(t, n).node.Blockstore})
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			root, data := s.build(t, n.dag)
			short := serveGateway(t, newCARServer(n.content, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Long-Way", "yes")
				good.ServeHTTP(w, r)
			})))
			for _, at := range [][2]int{{0, 1}, {0, len(data)}, {len(data) / 2, len(data)/2 + 1}, {len(data) / 3, len(data) / 2}, {len(data) - 1, len(data)}} {
				if at[1] <= at[0] || at[0] < 0 {
					continue
				}
				q := span{root: root, from: int64(at[0]), to: int64(at[1])}.query()
				want := httptest.NewRecorder()
				good.ServeHTTP(want, httptest.NewRequest(http.MethodGet, q, nil))
				got, err := http.Get(short + q)
				if err != nil {
					t.Fatal(err)
				}
				if got.Header.Get("Long-Way") != "" || got.ContentLength < 0 {
					t.Errorf("%s went the long way", q)
				}
				roots, sent := blocksOf(t, got.Body)
				_ = got.Body.Close()
				_, expected := blocksOf(t, want.Body)
				if len(roots) != 1 || !roots[0].Equals(root) || strings.Join(sent, " ") != strings.Join(expected, " ") {
					t.Errorf("%s: sent %d blocks %v, want %d %v", q, len(sent), sent, len(expected), expected)
				}
			}
		})
	}
}

// What is not all here, or no part of a file, is left to boxo's gateway.
func TestPeersGoTheLongWay(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	dir := addDir(t, n, randomBytes(14, 3<<20))
	long := 0
	s := newCARServer(n.content, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { long++ }))
	suffix := "&dag-scope=entity&entity-bytes=0:99&car-order=dfs&car-dups=n"
	for i, q := range []string{
		"/ipfs/" + absent("this").String() + "?format=car" + suffix,
		"/ipfs/" + dir.String() + "?format=car" + suffix,
		"/ipfs/" + dir.String() + "/blobs/none?format=car" + suffix,
		"/ipfs/" + dir.String() + "/blobs/sha256/x?format=raw",
		"/ipfs/" + dir.String() + "/blobs/sha256/x?format=car",
		"/ipfs/" + dir.String() + "/blobs/sha256/x?format=car" + strings.Replace(suffix, "0:99", "5:2", 1),
		"/ipfs/" + dir.String() + "/blobs/sha256/x?format=car" + strings.Replace(suffix, "0:99", "-5:2", 1),
		"/ipfs/" + dir.String() + "/blobs/sha256/x?format=car" + strings.Replace(suffix, "0:99", "0:*", 1),
		"/ipfs/nothing?format=car" + suffix,
	} {
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, q, nil))
		if long != i+1 {
			t.Errorf("%s did not go the long way", q)
			long = i + 1
		}
	}
	got, err := http.Get(serveGateway(t, s) + "/ipfs/" + dir.String() + "/blobs/sha256/x?format=car" + suffix)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if _, sent := blocksOf(t, got.Body); long != 9 || len(sent) != 5 {
		t.Errorf("the file itself: %d blocks, %d requests went the long way", len(sent), long)
	}
}

// looking counts how often a content looks at a block that is here, and finds
// none after a bound without which a test that fails would not end.
func looking(c *content) *atomic.Int64 {
	looks, local := &atomic.Int64{}, c.supply.local
	c.supply.local = func(ctx context.Context, k cid.Cid) (ipld.Node, bool) {
		if looks.Add(1) > 1<<17 {
			return nil, false
		}
		return local(ctx, k)
	}
	return looks
}

// What a peer asks for is not looked at further than is worth an answer, and not
// at all for nobody.
func TestPlansAreBounded(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	sp := span{root: repeating(t, n.content), to: maxServedSpan}
	stats, path := 0, n.disk.path
	n.disk.path = func(c cid.Cid) (string, bool) {
		if stats++; stats > 1<<19 {
			return "", false
		}
		return path(c)
	}
	looks := looking(n.content)
	s := newCARServer(n.content, nil)
	if _, err := s.plan(t.Context(), sp, cid.Undef); !errors.Is(err, errLongWay) || stats > 10*maxServedBlocks || looks.Load() > maxServedBlocks {
		t.Errorf("%d files and %d blocks were looked at, %v", stats, looks.Load(), err)
	}
	stats = 0
	looks.Store(0)
	if _, err := s.plan(canceled(t), sp, cid.Undef); !errors.Is(err, context.Canceled) || stats > 0 || looks.Load() > 0 {
		t.Errorf("for nobody %d files and %d blocks were looked at, %v", stats, looks.Load(), err)
	}
}

// Who finds no place is not planned for.
func TestPlansNeedAPlace(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	root := addFile(t, n, randomBytes(15, 1<<20))
	long := 0
	s := newCARServer(n.content, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { long++ }))
	looks := looking(n.content)
	for range maxServed {
		s.places <- struct{}{}
	}
	q := span{root: root, to: 100}.query()
	s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, q, nil))
	if long != 1 || looks.Load() > 0 {
		t.Errorf("%d requests went the long way, %d blocks were looked at", long, looks.Load())
	}
}

// An answer holds none of the bytes that it is to send, whatever its leaves are.
func TestPlansHoldNoBytes(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	root, data := shape{size: 24 << 20, chunk: 256 << 10, links: 174, v0: true}.build(t, n.dag)
	s := newCARServer(n.content, nil)
	before := heap()
	a, err := s.plan(t.Context(), span{root: root, to: int64(len(data))}, cid.Undef)
	if err != nil {
		t.Fatal(err)
	}
	if held := heap() - before; held > 8<<20 {
		t.Errorf("%d bytes are held for an answer of %d", held, a.size)
	}
	runtime.KeepAlive(a)
	runtime.KeepAlive(data)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// countingBlocks counts the blocks that are read, and calls then at some of them.
type countingBlocks struct {
	blockstore.GCBlockstore
	reads atomic.Int64
	then  func(ctx context.Context, read int64)
}

func (b *countingBlocks) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	b.then(ctx, b.reads.Add(1))
	return b.GCBlockstore.Get(ctx, c)
}

// The long way has an end too: with the peer, and when there is nothing to send.
func TestTheLongWayIsBounded(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	root := repeating(t, n.content)
	e := kuboOf(t, n)
	ctx, leave := context.WithCancel(t.Context())
	counting := &countingBlocks{GCBlockstore: e.node.Blockstore}
	e.node.Blockstore = counting
	served, err := e.peerGateway(n.content)
	if err != nil {
		t.Fatal(err)
	}
	url := serveGateway(t, served) + "/ipfs/" + root.String() + "?format=car&dag-scope=entity"
	read := func(ctx context.Context) int64 {
		counting.reads.Store(0)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := http.DefaultClient.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, got.Body)
			_ = got.Body.Close()
		} else if ctx.Err() == nil {
			t.Fatal(err)
		}
		last := int64(-1)
		eventually(t, "its blocks are not read any more", func() bool {
			before := last
			last = counting.reads.Load()
			return last == before || last > 1<<20
		})
		return last
	}
	const most = maxUnsent / leastRead
	counting.then = func(served context.Context, read int64) {
		if read == 1000 && ctx.Err() == nil { // what there is to send has been sent
			leave()
			select {
			case <-served.Done():
			case <-time.After(patience):
			}
		}
	}
	if got := read(ctx); got < 1000 || got > most*9/10 {
		t.Errorf("%d blocks were read, 1000 before the peer left", got)
	}
	if got := read(t.Context()); got < most/2 || got > most+1000 {
		t.Errorf("%d blocks were read, and seven are sent; want %d", got, most)
	}
}

func FuzzParseSpan(f *testing.F) {
	f.Add("/ipfs/bafkqaaa/a/b", "format=car&dag-scope=entity&entity-bytes=0:99&car-order=dfs&car-dups=n")
	f.Add("/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", "format=car&dag-scope=entity&entity-bytes=9:1&car-order=dfs&car-dups=n")
	f.Add("/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", "format=car&dag-scope=entity&entity-bytes=9223372036854775800:9223372036854775807&car-order=dfs&car-dups=n")
	f.Fuzz(func(t *testing.T, path, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawQuery = path, query
		sp, err := parseSpan(r)
		if err == nil && (sp.from < 0 || sp.to <= sp.from || sp.to-sp.from > maxServedSpan || !sp.root.Defined() || len(sp.names) > maxPathNames) {
			t.Errorf("%+v", sp)
		}
	})
}
