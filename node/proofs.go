package node

import (
	"hash/maphash"
	"os"
	"sync"

	"github.com/ipfs/go-cid"
)

// maxProofs bounds the memory of proofs to about 10 MB. It is as many blocks as
// 512 GiB of images have.
const maxProofs = 1 << 19

// stamp tells whether a file is the one that it was: nobody writes to a file, or
// replaces it, and leaves its stamp as it is. The damage that a disk does to a
// file at rest does not show in it; to find that is what scrubbing is for.
type stamp struct {
	inode             uint64
	size              int64 // bytes
	modified, changed int64 // ns since 1970; changed is 0 where the system has no such time
}

// proofs remembers which files have been hashed and were right, each in a few
// bytes: a hash, under a seed of this process, of the block and of the stamp.
// The half that was added to longer ago is dropped when it is full. It is safe
// for concurrent use.
type proofs struct {
	seed maphash.Seed

	mu             sync.Mutex
	recent, former map[uint64]struct{}
}

func newProofs() *proofs {
	return &proofs{seed: maphash.MakeSeed(), recent: map[uint64]struct{}{}}
}

type proof struct {
	hash string
	stamp
}

func (p *proofs) has(c cid.Cid, s stamp) bool {
	key := maphash.Comparable(p.seed, proof{string(c.Hash()), s})
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.recent[key]; ok {
		return true
	}
	_, ok := p.former[key]
	if ok {
		p.put(key)
	}
	return ok
}

func (p *proofs) add(c cid.Cid, s stamp) {
	key := maphash.Comparable(p.seed, proof{string(c.Hash()), s})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(key)
}

// put needs the lock.
func (p *proofs) put(key uint64) {
	if len(p.recent) >= maxProofs/2 {
		p.former, p.recent = p.recent, map[uint64]struct{}{}
	}
	p.recent[key] = struct{}{}
}

func stampOf(info os.FileInfo) stamp {
	s := stamp{size: info.Size(), modified: info.ModTime().UnixNano()}
	s.inode, s.changed = identify(info)
	return s
}
