package node

import (
	"context"

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

// servedBlocks is the blockstore from which boxo's gateway answers peers. What a
// denylist names is not in it: a block service that obeys denylists would not do,
// as the sessions that boxo reads CARs by pass it.
type servedBlocks struct {
	blockstore.Blockstore
	denied func(cid.Cid) error
}

func (b servedBlocks) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if err := b.denied(c); err != nil {
		return nil, err
	}
	return b.Blockstore.Get(ctx, c)
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
