package node

import (
	"os"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ipfs/go-cid"
)

const (
	maxOpenFiles = 256
	// openFileIdle is how long a file stays open unused: a block that was
	// removed keeps its place on the disk for so long.
	openFileIdle = 10 * time.Second
)

// openFiles keeps the files of the blocks read last open, since opening one
// takes several times as long as reading 16 KiB of it. Files are shared, so
// they are read with ReadAt only. It is safe for concurrent use.
type openFiles struct {
	disk *disk

	mu       sync.Mutex
	recent   *simplelru.LRU[cid.Cid, *blockFile]
	sweeping bool
}

// blockFile is closed when nobody uses it and it is not kept any more.
type blockFile struct {
	*os.File
	stamp  stamp // the file had it when its bytes were proven
	shared bool
	users  int // of openFiles.mu, one of them openFiles itself if it is shared
	used   time.Time
}

func newOpenFiles(d *disk) *openFiles {
	o := &openFiles{disk: d}
	recent, err := simplelru.NewLRU[cid.Cid, *blockFile](maxOpenFiles, func(_ cid.Cid, f *blockFile) { f.leave() })
	if err != nil {
		panic(err) // the size is a positive constant
	}
	o.recent = recent
	return o
}

// leave is called with openFiles.mu held.
func (f *blockFile) leave() {
	if f.users--; f.users == 0 {
		_ = f.Close() // it was open for reading only
	}
}

// open returns the file of the block c if there is one, of that size in bytes
// and with the bytes of c. The caller releases it.
func (o *openFiles) open(c cid.Cid, size int64) (*blockFile, bool) {
	if f, ok := o.get(c); ok {
		return f, true
	}
	f, ok := o.openAlone(c, size)
	if !ok {
		return nil, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	f.shared, f.used = true, time.Now()
	f.users++
	o.recent.Remove(c)
	o.recent.Add(c, f)
	if !o.sweeping {
		o.sweeping = true
		time.AfterFunc(openFileIdle, o.sweep)
	}
	return f, true
}

// openAlone is like open, for one user only.
func (o *openFiles) openAlone(c cid.Cid, size int64) (*blockFile, bool) {
	name, ok := o.disk.path(c)
	if !ok {
		return nil, false
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, false
	}
	info, err := file.Stat()
	if err != nil || info.Size() != size || !o.disk.prove(c, file, info) {
		_ = file.Close()
		return nil, false
	}
	return &blockFile{File: file, stamp: stampOf(info), users: 1}, true
}

// get returns an open file that is still as it was when its bytes were proven.
func (o *openFiles) get(c cid.Cid) (*blockFile, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, ok := o.recent.Get(c)
	if !ok {
		return nil, false
	}
	if info, err := f.Stat(); err != nil || stampOf(info) != f.stamp {
		o.recent.Remove(c)
		return nil, false
	}
	f.users++
	f.used = time.Now()
	return f, true
}

func (o *openFiles) release(f *blockFile) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f.leave()
}

// forget lets the next one look at the disk again.
func (o *openFiles) forget(c cid.Cid) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.recent.Remove(c)
}

// sweep lets go of the files that are idle, and comes again while there are any.
func (o *openFiles) sweep() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		_, oldest, ok := o.recent.GetOldest()
		if !ok {
			o.sweeping = false
			return
		}
		if time.Since(oldest.used) < openFileIdle {
			time.AfterFunc(openFileIdle, o.sweep)
			return
		}
		o.recent.RemoveOldest()
	}
}
