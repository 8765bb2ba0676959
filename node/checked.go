package node

import (
	"context"
	"errors"
	"syscall"

	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
)

// checkedBlocks is a blockstore that hands out no damaged block, to nobody: to
// Kubo, and so to peers, as little as to us. A damaged one is absent until it is
// put again.
type checkedBlocks struct {
	blockstore.Blockstore
	disk *disk
}

func (b checkedBlocks) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if c.Prefix().MhType == multihash.IDENTITY {
		return b.Blockstore.Get(ctx, c)
	}
	info, statErr := b.disk.stat(c)
	if statErr != nil && b.disk.isDamaged(c) {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	var s stamp
	if statErr == nil {
		s = stampOf(info)
	}
	block, err := b.Blockstore.Get(ctx, c)
	switch {
	case err == nil && statErr == nil && b.disk.proofs.has(c, s):
		return block, nil
	case err == nil:
		err = compareBytes(c, block.RawData())
	case !errors.Is(err, syscall.EIO) && !errors.Is(err, blockstore.ErrHashMismatch):
		return nil, err
	}
	if err != nil {
		b.disk.condemn(c, s, err)
		return nil, ipld.ErrNotFound{Cid: c}
	}
	if statErr == nil {
		b.disk.proofs.add(c, s)
	}
	return block, nil
}

func (b checkedBlocks) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if b.disk.isDamaged(c) {
		return false, nil
	}
	return b.Blockstore.Has(ctx, c)
}

func (b checkedBlocks) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	if b.disk.isDamaged(c) {
		return -1, ipld.ErrNotFound{Cid: c}
	}
	return b.Blockstore.GetSize(ctx, c)
}

func (b checkedBlocks) Put(ctx context.Context, block blocks.Block) error {
	if err := b.clear(ctx, block.Cid()); err != nil {
		return err
	}
	return b.Blockstore.Put(ctx, block)
}

func (b checkedBlocks) PutMany(ctx context.Context, all []blocks.Block) error {
	for _, block := range all {
		if err := b.clear(ctx, block.Cid()); err != nil {
			return err
		}
	}
	return b.Blockstore.PutMany(ctx, all)
}

// clear removes a damaged block, which would otherwise pass for one that is
// there already.
func (b checkedBlocks) clear(ctx context.Context, c cid.Cid) error {
	if !b.disk.isDamaged(c) {
		return nil
	}
	if err := b.Blockstore.DeleteBlock(ctx, c); err != nil {
		return err
	}
	b.disk.mended(c)
	return nil
}

func (b checkedBlocks) DeleteBlock(ctx context.Context, c cid.Cid) error {
	err := b.Blockstore.DeleteBlock(ctx, c)
	if err == nil {
		b.disk.mended(c)
	}
	return err
}
