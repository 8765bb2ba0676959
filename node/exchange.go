package node

import (
	"context"
	"sync/atomic"

	"github.com/ipfs/boxo/exchange"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/kubo/repo"
	"golang.org/x/sync/errgroup"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// supplied is the exchange of a node without a host. Kubo knows of no gateways
// then; what it misses, asked by its RPC, comes the way that it comes to any
// reader of ours.
type supplied struct {
	exchange.Interface
	content *atomic.Pointer[content]
}

// withSupply has a node of ours get by its gateways what it does not have.
func withSupply(ex exchange.Interface, r repo.Repo) exchange.Interface {
	ours, ok := r.(*overlaidRepo)
	if !ok || ours.online {
		return ex
	}
	return &supplied{ex, &ours.content}
}

// GetBlock implements exchange.Fetcher.
func (s *supplied) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	content := s.content.Load()
	if content == nil || len(content.supply.sources()) == 0 {
		return s.Interface.GetBlock(ctx, c)
	}
	path := image.Path{Root: c}
	l := &loader{content: content, ctx: ctx, op: "retrieve", path: path}
	defer l.close()
	nd, err := l.node(c)
	if err != nil {
		return nil, err
	}
	return blocks.NewBlockWithCid(nd.RawData(), c)
}

// GetBlocks implements exchange.Fetcher. What can't be had is left out, as the
// exchange of Kubo does.
func (s *supplied) GetBlocks(ctx context.Context, cids []cid.Cid) (<-chan blocks.Block, error) {
	all := make(chan blocks.Block, len(cids))
	var group errgroup.Group
	group.SetLimit(remoteParallel)
	go func() {
		defer close(all)
		for _, c := range cids {
			group.Go(func() error {
				if b, err := s.GetBlock(ctx, c); err == nil {
					all <- b
				}
				return nil
			})
		}
		_ = group.Wait()
	}()
	return all, nil
}
