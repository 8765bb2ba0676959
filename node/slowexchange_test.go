package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// slowBlocks takes a while to store the first block that is large, once it has
// told of it.
type slowBlocks struct {
	blockstore.Blockstore
	once sync.Once
	slow time.Duration
	came func()
}

func (s *slowBlocks) Put(ctx context.Context, b blocks.Block) error {
	if len(b.RawData()) > smallBlock {
		s.once.Do(func() {
			s.came()
			<-time.After(s.slow) // the disk
		})
	}
	return s.Blockstore.Put(ctx, b)
}

// While what the exchange has brought is stored no source is asked for it, which
// may have been found meanwhile.
func TestSlowDiskIsNoFaultOfTheExchange(t *testing.T) {
	const leaves = 3
	seed, data := startNode(t, loopback(t.TempDir())), randomBytes(4, leaves<<20)
	root := addFile(t, seed, data)
	n := startNode(t, loopback(t.TempDir(), address(t, seed)))
	speaksHTTP(t, n)
	found, streamed, all := atomic.Bool{}, atomic.Int64{}, n.supply.sources
	for _, s := range all() {
		s.client.Transport = counting{s.client.Transport, &streamed}
	}
	n.supply.sources = func() []*supplier {
		if found.Load() {
			return all()
		}
		return nil
	}
	store := kuboOf(t, n).repo.barrier
	store.gate.Lock() // Kubo reads blocks already
	store.Blockstore = &slowBlocks{Blockstore: store.Blockstore, slow: 2*slowAfter + time.Second, came: func() { found.Store(true) }}
	store.gate.Unlock()
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	exchange, peer := blocksFrom(n, exchangeLabel), blocksFrom(n, peerLabel)
	if exchange < 2 || exchange+peer != leaves+1 { // the root, and the leaf that was being stored
		t.Errorf("%d blocks came by the exchange and %d by a stream, want %d in all", exchange, peer, leaves+1)
	}
	if got := streamed.Load(); got > int64(peer<<20+64<<10) {
		t.Errorf("%d bytes came by streams, for %d blocks", got, peer)
	}
}

// counting counts the bytes of the answers.
type counting struct {
	http.RoundTripper
	bytes *atomic.Int64
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(resp.Body, c), resp.Body}
	}
	return resp, err
}

func (c counting) Write(p []byte) (int, error) {
	c.bytes.Add(int64(len(p)))
	return len(p), nil
}

// What can't be written is said to who waits for it.
func TestDiskIsFullWhenTheExchangeBrings(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	root := addFile(t, seed, randomBytes(4, 3<<20))
	n := startNode(t, loopback(t.TempDir(), address(t, seed)))
	n.supply.sources = func() []*supplier { return nil }
	store := kuboOf(t, n).repo.barrier
	store.Blockstore = &fullBlocks{Blockstore: store.Blockstore}
	if _, err := readCold(t, n, image.Path{Root: root}); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
}

// fullBlocks has room for one large block.
type fullBlocks struct {
	blockstore.Blockstore
	large atomic.Int32
}

func (f *fullBlocks) Put(ctx context.Context, b blocks.Block) error {
	return f.PutMany(ctx, []blocks.Block{b})
}

func (f *fullBlocks) PutMany(ctx context.Context, all []blocks.Block) error {
	for _, b := range all {
		if len(b.RawData()) > smallBlock && f.large.Add(1) > 1 {
			return syscall.ENOSPC
		}
	}
	return f.Blockstore.PutMany(ctx, all)
}
