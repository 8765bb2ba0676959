package node

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"

	blocking "github.com/ipfs-shipyard/nopfs/ipfs"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path/resolver"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/kubo/core/node"
)

const (
	// maxUnsent is how many bytes boxo's gateway may read for an answer while it
	// sends nothing of it: it reads a block as often as a file has it, sends it
	// once, and few blocks can be a file of exabytes. A block counts for leastRead
	// at least.
	maxUnsent = 1 << 30
	leastRead = 32 << 10
)

var errUnsent = errors.New("too much was read of it with nothing new to send, as it repeats itself: ask for single blocks")

// servedBlocks is the blockstore from which boxo's gateway answers peers. It ends
// with the request, which boxo does not look at while it has nothing to send.
// What a denylist names is not in it: a block service that obeys denylists would
// not do, as the sessions that boxo reads CARs by pass it.
type servedBlocks struct {
	blockstore.Blockstore
	denied func(cid.Cid) error
}

func (b servedBlocks) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := b.denied(c); err != nil {
		return nil, err
	}
	block, err := b.Blockstore.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	if a, ok := ctx.Value(unsentKey{}).(*unsent); ok && a.read.Add(max(int64(len(block.RawData())), leastRead)) > maxUnsent {
		return nil, errUnsent
	}
	return block, nil
}

// unsent is an answer of boxo's gateway, which knows how much was read for it
// since something was sent.
type unsent struct {
	http.ResponseWriter
	read atomic.Int64
}

type unsentKey struct{}

// withUnsent is next with what servedBlocks needs to know of its answers.
func withUnsent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &unsent{ResponseWriter: w}
		next.ServeHTTP(a, r.WithContext(context.WithValue(r.Context(), unsentKey{}, a)))
	})
}

func (a *unsent) Write(p []byte) (int, error) {
	a.read.Store(0)
	return a.ResponseWriter.Write(p)
}

// Flush and Hijack are what boxo's gateway asks of an answer.
func (a *unsent) Flush() { _ = http.NewResponseController(a.ResponseWriter).Flush() }

func (a *unsent) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(a.ResponseWriter).Hijack()
}

// peerBackend is what boxo's gateway for peers reads.
func (e *embedded) peerBackend() (*gateway.BlocksBackend, error) {
	bs := servedBlocks{e.node.Blockstore, e.blocked}
	service := blockservice.New(bs, offline.Exchange(bs))
	paths := resolver.NewBasicResolver(node.FetcherConfig(service).OfflineUnixfsFetcher)
	if e.repo.blocker != nil {
		paths = blocking.WrapResolver(paths, e.repo.blocker)
	}
	return gateway.NewBlocksBackend(service, gateway.WithResolver(paths))
}
