package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/kubo/core/node"
	"github.com/ipfs/kubo/repo"
)

// mark names a block by the end of its hash: short, so that the marks of many
// blocks take little memory, and long enough that no two blocks share one.
type mark [16]byte

func markOf(c cid.Cid) mark {
	var m mark
	hash := c.Hash()
	copy(m[:], hash[max(0, len(hash)-len(m)):])
	return m
}

// barrier is the node's blocks, all of whose users come through here. While
// somebody holds it, it notes every block that is read, looked for or written:
// those a garbage collection leaves alone, however it came to its decision.
//
// So nobody who adds blocks has to wait for a collection, and no collection for
// them: who writes blocks first and pins them later holds the barrier from
// before the first write until after the pinning.
type barrier struct {
	blockstore.Blockstore
	// gate is held for reading by each operation, and for writing by who
	// begins to hold, so that no operation is under way unnoticed, and by who
	// removes blocks.
	gate sync.RWMutex
	// full is told that the disk is.
	full func()
	// path is of the repository.
	path string

	mu      sync.Mutex
	holders int
	touched map[mark]struct{} // nil while nobody holds
}

// withBarrier puts a barrier in front of the blocks of a repository, which hand
// out no damaged one.
func withBarrier(bs node.BaseBlocks, r repo.Repo) node.BaseBlocks {
	b := &barrier{Blockstore: bs, full: func() {}}
	if ours, ok := r.(*overlaidRepo); ok {
		b.Blockstore = checkedBlocks{bs, ours.disk}
		ours.barrier, b.path = b, ours.Path()
		if ours.diskFull != nil {
			b.full = ours.diskFull
		}
	}
	return b
}

// smallBlock is how many bytes a block may have to be written into the reserve.
const smallBlock = 4 << 10

// room fails if a block would take from what is reserved for records: their
// datastore does not recover from a write that found no room.
func (b *barrier) room(size int) error {
	if size <= smallBlock || b.path == "" {
		return nil
	}
	free, total, err := diskSpace(b.path)
	if err != nil || free >= min(reserve, total/16)+uint64(size) {
		return nil //nolint:nilerr // then the write itself will tell
	}
	return fmt.Errorf("write a block into %s, of which the last is left for records: %w", b.path, syscall.ENOSPC)
}

// reserve is how many bytes of the disk are left for records, or a sixteenth of a
// small disk.
const reserve = 64 << 20

// hold begins to note what is touched. The caller calls release once.
func (b *barrier) hold() (release func()) {
	b.gate.Lock()
	defer b.gate.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holders++; b.touched == nil {
		b.touched = map[mark]struct{}{}
	}
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.holders--; b.holders == 0 {
			b.touched = nil
		}
	})
}

// enter begins an operation on a block; the caller calls leave.
func (b *barrier) enter(c cid.Cid) (leave func()) {
	b.gate.RLock()
	b.touch(c)
	return b.gate.RUnlock
}

func (b *barrier) touch(c cid.Cid) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.touched != nil {
		b.touched[markOf(c)] = struct{}{}
	}
}

func (b *barrier) isTouched(c cid.Cid) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.touched[markOf(c)]
	return ok
}

// Get implements blockstore.Blockstore, as do the others.
func (b *barrier) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	defer b.enter(c)()
	return b.Blockstore.Get(ctx, c)
}

func (b *barrier) Has(ctx context.Context, c cid.Cid) (bool, error) {
	defer b.enter(c)()
	return b.Blockstore.Has(ctx, c)
}

func (b *barrier) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	defer b.enter(c)()
	return b.Blockstore.GetSize(ctx, c)
}

func (b *barrier) Put(ctx context.Context, block blocks.Block) error {
	defer b.enter(block.Cid())()
	if err := b.room(len(block.RawData())); err != nil {
		return b.wrote(err)
	}
	return b.wrote(b.Blockstore.Put(ctx, block))
}

func (b *barrier) PutMany(ctx context.Context, all []blocks.Block) error {
	b.gate.RLock()
	defer b.gate.RUnlock()
	size := 0
	for _, block := range all {
		b.touch(block.Cid())
		size += len(block.RawData())
	}
	if err := b.room(size); err != nil {
		return b.wrote(err)
	}
	return b.wrote(b.Blockstore.PutMany(ctx, all))
}

// wrote passes on how a write ended.
func (b *barrier) wrote(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		b.full()
	}
	return err
}
