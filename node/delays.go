package node

import (
	"sync"
	"time"
)

// delays is what the disk is asked for just now, and since when. It is safe for
// concurrent use; a nil one notes nothing.
type delays struct {
	mu    sync.Mutex
	last  int
	begun map[int]time.Time
}

// begin notes that the disk is asked; the caller calls end when it has answered.
func (d *delays) begin() (end func()) {
	if d == nil {
		return func() {}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun == nil {
		d.begun = map[int]time.Time{}
	}
	d.last++
	this := d.last
	d.begun[this] = time.Now()
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.begun, this)
	}
}

// longest is how long the disk has not answered.
func (d *delays) longest() (longest time.Duration) {
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, begun := range d.begun {
		longest = max(longest, time.Since(begun))
	}
	return longest
}
