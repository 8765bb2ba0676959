package node

import (
	"sync"
	"time"
)

// slowDisk is how long the disk takes at least that is waited for.
const slowDisk = time.Second

// delays is what the disk is asked for just now, and since when. It is safe for
// concurrent use.
type delays struct {
	mu    sync.Mutex
	count int
	begun map[int]time.Time
}

// begin notes that the disk is asked; the caller calls end when it has answered.
func (d *delays) begin() (end func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun == nil {
		d.begun = map[int]time.Time{}
	}
	d.count++
	this := d.count
	d.begun[this] = time.Now()
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.begun, this)
	}
}

// isSlow reports whether the disk has not answered something for a while.
func (d *delays) isSlow() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, begun := range d.begun {
		if time.Since(begun) >= slowDisk {
			return true
		}
	}
	return false
}
