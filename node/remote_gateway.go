package node

import (
	"bytes"
	"context"
	"fmt"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipfs/kubo/core/coreiface/options"
	"github.com/multiformats/go-multicodec"
)

// askFirst has s ask a gateway for what the other process's node does not have
// on its disk, and put there what the gateway sends.
func (r *remote) askFirst(s *supply, o Options) error {
	o.Gateways = nil
	only, err := gateways(o)
	if err != nil {
		return err
	}
	offline, err := r.api.WithOptions(options.Api.Offline(true))
	if err != nil {
		return err
	}
	dag := &remoteDAG{offline.Dag()}
	s.log = o.Log
	s.sources = func() []*supplier { return only }
	s.local = func(ctx context.Context, c cid.Cid) (ipld.Node, bool) {
		nd, err := dag.Get(ctx, c)
		return nd, err == nil
	}
	s.keep, s.foreign = r.keep, true
	return nil
}

func (r *remote) keep(ctx context.Context, b blocks.Block) error {
	p := b.Cid().Prefix()
	put, err := r.api.Block().Put(ctx, bytes.NewReader(b.RawData()),
		options.Block.CidCodec(multicodec.Code(p.Codec).String()), options.Block.Hash(p.MhType, p.MhLength))
	if err != nil {
		return err
	}
	if got := put.Path().RootCid(); !bytes.Equal(got.Hash(), b.Cid().Hash()) {
		return fmt.Errorf("the node stored %s as %s", b.Cid(), got)
	}
	return nil
}
