package node

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/datastore/dshelp"
	"github.com/ipfs/boxo/exchange"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/boxo/ipld/unixfs/importer/trickle"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	flatfs "github.com/ipfs/go-ds-flatfs"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
)

// store is a real blockstore that counts the blocks read from it.
type store struct {
	blockstore.Blockstore
	dir string // of the flatfs; "" in memory

	mu   sync.Mutex
	gets int
}

func (s *store) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	s.mu.Lock()
	s.gets++
	s.mu.Unlock()
	return s.Blockstore.Get(ctx, c)
}

func (s *store) reads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

func memoryStore(testing.TB) *store {
	ds := dssync.MutexWrap(datastore.NewMapDatastore())
	return &store{Blockstore: blockstore.NewBlockstore(ds)}
}

func flatfsStore(t testing.TB) *store {
	dir := t.TempDir()
	ds, err := flatfs.CreateOrOpen(dir, flatfs.NextToLast(2), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ds.Close() })
	return &store{Blockstore: blockstore.NewBlockstore(ds, blockstore.NoPrefix()), dir: dir}
}

func (s *store) leafPath(c cid.Cid) (string, bool) {
	if s.dir == "" || c.Prefix().MhType == multihash.IDENTITY {
		return "", false
	}
	name := dshelp.MultihashToDsKey(c.Hash()).String()[1:]
	return filepath.Join(s.dir, flatfs.NextToLast(2).Func()(name), name+".data"), true
}

// contentOn is a content on a store, with an exchange or offline.
func contentOn(s *store, ex exchange.Interface, timeout time.Duration) *content {
	d := newDisk(s.leafPath, slog.New(slog.DiscardHandler))
	blocks := checkedBlocks{s, d}
	if ex == nil {
		ex = offline.Exchange(blocks)
	}
	dag := merkledag.NewDAGService(blockservice.New(blocks, ex))
	session := func(ctx context.Context) ipld.NodeGetter { return merkledag.NewSession(ctx, dag) }
	return newContent(dag, session, d, timeout)
}

func offlineContent(s *store) *content { return contentOn(s, nil, time.Minute) }

// peerExchange brings blocks from the store of one other peer and, like
// Bitswap, waits for ever for one that it does not have.
type peerExchange struct {
	peer *store

	mu     sync.Mutex
	wanted map[cid.Cid]int
	gate   func(c cid.Cid) <-chan struct{} // a block is sent once it is closed; nil: at once
}

func newPeer(s *store) *peerExchange { return &peerExchange{peer: s, wanted: map[cid.Cid]int{}} }

func (e *peerExchange) asked() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.wanted)
}

func (e *peerExchange) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	e.mu.Lock()
	e.wanted[c]++
	gate := e.gate
	e.mu.Unlock()
	if gate != nil {
		select {
		case <-gate(c):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	b, err := e.peer.Blockstore.Get(ctx, c)
	if ipld.IsNotFound(err) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return b, err
}

func (e *peerExchange) GetBlocks(ctx context.Context, cids []cid.Cid) (<-chan blocks.Block, error) {
	out := make(chan blocks.Block)
	var wg sync.WaitGroup
	for _, c := range cids {
		wg.Go(func() {
			b, err := e.GetBlock(ctx, c)
			if err != nil {
				return
			}
			select {
			case out <- b:
			case <-ctx.Done():
			}
		})
	}
	go func() { wg.Wait(); close(out) }()
	return out, nil
}

func (e *peerExchange) NotifyNewBlocks(context.Context, ...blocks.Block) error { return nil }
func (e *peerExchange) Close() error                                           { return nil }

// shape is a way in which a file can lie in a DAG.
type shape struct {
	name    string
	size    int
	chunk   int64
	links   int
	raw     bool
	trickle bool
	v0      bool
}

func shapes() []shape {
	return []shape{
		{name: "empty raw", raw: true, chunk: 10, links: 3},
		{name: "empty dag-pb", chunk: 10, links: 3},
		{name: "single raw block", size: 1000, chunk: 1000, links: 3, raw: true},
		{name: "single dag-pb block", size: 1000, chunk: 1000, links: 3},
		{name: "single CIDv0 block", size: 1000, chunk: 1000, links: 3, v0: true},
		{name: "balanced raw leaves", size: 30_001, chunk: 1000, links: 1024, raw: true},
		{name: "legacy dag-pb leaves", size: 30_001, chunk: 1000, links: 174, v0: true},
		{name: "many levels", size: 30_001, chunk: 1000, links: 3, raw: true},
		{name: "many levels of dag-pb", size: 30_001, chunk: 1000, links: 3},
		{name: "trickle", size: 30_001, chunk: 1000, links: 3, trickle: true},
		{name: "trickle with raw leaves", size: 30_001, chunk: 1000, links: 3, raw: true, trickle: true},
		{name: "zeroes, all leaves alike", size: -30_001, chunk: 1000, links: 7, raw: true},
		{name: "1 MiB chunks", size: 20<<20 + 7, chunk: 1 << 20, links: 1024, raw: true},
		{name: "1 MiB chunks, four a node", size: 20<<20 + 7, chunk: 1 << 20, links: 4, raw: true},
	}
}

// build stores a file of the shape and returns its bytes.
func (s shape) build(t testing.TB, dag ipld.DAGService) (cid.Cid, []byte) {
	t.Helper()
	data := make([]byte, max(s.size, -s.size))
	if s.size > 0 {
		data = noise(s.size)
	}
	params := helpers.DagBuilderParams{Dagserv: dag, RawLeaves: s.raw, Maxlinks: s.links, CidBuilder: cidBuilder()}
	if s.v0 {
		params.CidBuilder = merkledag.V0CidPrefix()
	}
	builder, err := params.New(chunk.NewSizeSplitter(bytes.NewReader(data), s.chunk))
	if err != nil {
		t.Fatal(err)
	}
	layout := balanced.Layout
	if s.trickle {
		layout = trickle.Layout
	}
	root, err := layout(builder)
	if err != nil {
		t.Fatal(err)
	}
	return root.Cid(), data
}

// noise is n bytes that do not repeat, the same each time.
func noise(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	return data
}

// onlyWriter hides everything else that a writer can.
type onlyWriter struct{ io.Writer }
