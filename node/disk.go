package node

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	mhregister "github.com/multiformats/go-multihash/core"
	"golang.org/x/sync/singleflight"
)

// maxDamaged is how many damaged blocks are remembered. One that is forgotten
// is found out again when it is read.
const maxDamaged = 1 << 16

// disk is what is known of the blocks that this process reads from the disk:
// the file of each, if it has one of its own, and whether its bytes are those of
// its CID. A block is hashed when it is read for the first time, and again when
// its file is not the one that was hashed. One that is damaged is as good as
// absent; its file stays until another copy has come. It is safe for concurrent
// use.
type disk struct {
	// path names the file, whether it is there or not, that holds nothing but
	// the bytes of the block, and false when there is no such file.
	path    func(cid.Cid) (string, bool)
	log     *slog.Logger
	buffers sync.Pool // of *[minSendfile]byte

	proofs  *proofs
	proving singleflight.Group
	// damaged has the stamps of the files that are.
	damaged *lru.Cache[string, stamp]
	found   atomic.Int64 // blocks that turned out damaged
}

// newDisk returns a disk; a nil path means that no block has a file of its own.
func newDisk(path func(cid.Cid) (string, bool), log *slog.Logger) *disk {
	if path == nil {
		path = noLeafPaths
	}
	damaged, err := lru.New[string, stamp](maxDamaged)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &disk{path: path, log: log, proofs: newProofs(), damaged: damaged}
}

// stat finds the file of a block; it fails when there is none or it is damaged.
func (d *disk) stat(c cid.Cid) (os.FileInfo, error) {
	name, ok := d.path(c)
	if !ok {
		return nil, os.ErrNotExist
	}
	info, err := os.Stat(name)
	if err == nil && d.isDamaged(c) {
		return nil, fmt.Errorf("%s is damaged: %w", name, os.ErrNotExist)
	}
	return info, err
}

// has reports whether the block lies in a file of its own, damaged or not.
func (d *disk) has(c cid.Cid) bool {
	name, ok := d.path(c)
	if !ok {
		return false
	}
	_, err := os.Stat(name)
	return err == nil
}

// here reports whether the block lies in a file of its own, as far as is known
// undamaged.
func (d *disk) here(c cid.Cid) bool {
	_, err := d.stat(c)
	return err == nil
}

// proven reports whether the file of the block, of that size in bytes, has been
// hashed before.
func (d *disk) proven(c cid.Cid, size int64) bool {
	info, err := d.stat(c)
	return err == nil && info.Size() == size && d.proofs.has(c, stampOf(info))
}

// trust takes the bytes of a block for proven that has just been written.
func (d *disk) trust(c cid.Cid) {
	if info, err := d.stat(c); err == nil {
		d.proofs.add(c, stampOf(info))
	}
}

// prove reports whether an open file has the bytes of c. However many ask, they
// are hashed once.
func (d *disk) prove(c cid.Cid, file *os.File, info os.FileInfo) bool {
	s := stampOf(info)
	if d.proofs.has(c, s) {
		return true
	}
	_, err, _ := d.proving.Do(fmt.Sprint(c.Hash(), s), func() (any, error) {
		return nil, d.compare(c, file)
	})
	if err == nil {
		d.proofs.add(c, s)
		return true
	}
	d.condemn(c, s, err)
	return false
}

// compare hashes a file and says how it is not c.
func (d *disk) compare(c cid.Cid, file io.ReaderAt) error {
	sum, err := hasherOf(c)
	if err != nil {
		return err
	}
	buf := d.buffer()
	defer d.buffers.Put(buf)
	for off := int64(0); ; {
		n, err := file.ReadAt(buf[:], off)
		sum.Write(buf[:n])
		off += int64(n)
		switch {
		case err == io.EOF:
			return sameSum(c, sum)
		case err != nil:
			return err
		case off > maxBlock:
			return fmt.Errorf("it has more than %d bytes", maxBlock)
		}
	}
}

// buffer is to be put back into d.buffers.
func (d *disk) buffer() *[minSendfile]byte {
	if buf, ok := d.buffers.Get().(*[minSendfile]byte); ok {
		return buf
	}
	return new([minSendfile]byte)
}

// compareBytes says how the bytes of a block are not those of c.
func compareBytes(c cid.Cid, data []byte) error {
	sum, err := hasherOf(c)
	if err != nil {
		return err
	}
	sum.Write(data)
	return sameSum(c, sum)
}

func hasherOf(c cid.Cid) (hash.Hash, error) { return mhregister.GetHasher(c.Prefix().MhType) }

func sameSum(c cid.Cid, sum hash.Hash) error {
	want, err := multihash.Decode(c.Hash())
	if err != nil {
		return err
	}
	got := sum.Sum(nil)
	if len(got) < want.Length || !bytes.Equal(got[:want.Length], want.Digest) {
		return errors.New("its bytes have another hash")
	}
	return nil
}

// condemn remembers that the file with the stamp is not c.
func (d *disk) condemn(c cid.Cid, s stamp, why error) {
	if known, ok := d.damaged.Get(string(c.Hash())); ok && known == s {
		return
	}
	d.damaged.Add(string(c.Hash()), s)
	d.found.Add(1)
	d.log.Warn("a block is damaged on the disk and is not served; it is retrieved again when it is needed", "block", c, "why", why)
}

// isDamaged reports whether what the disk has of the block is damaged. A file
// that has come to its place since then is another one.
func (d *disk) isDamaged(c cid.Cid) bool {
	if d.damaged.Len() == 0 {
		return false
	}
	s, ok := d.damaged.Get(string(c.Hash()))
	if !ok || s == (stamp{}) {
		return ok
	}
	name, ok := d.path(c)
	if !ok {
		return true
	}
	if info, err := os.Stat(name); err == nil && stampOf(info) == s {
		return true
	}
	d.mended(c)
	return false
}

// damagedSize is how many bytes the file of a block has that is damaged.
func (d *disk) damagedSize(c cid.Cid) (int, bool) {
	if !d.isDamaged(c) {
		return 0, false
	}
	s, ok := d.damaged.Peek(string(c.Hash()))
	return int(s.size), ok
}

// mended forgets that the block was damaged: it is gone, or to be written anew.
func (d *disk) mended(c cid.Cid) { d.damaged.Remove(string(c.Hash())) }
