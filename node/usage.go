package node

import (
	"sync"

	"github.com/ipfs/go-cid"
)

// usage is the files that are open. A garbage collection leaves their blocks
// alone: which were there when it began, and which are opened as it goes on.
type usage struct {
	mu sync.Mutex
	// open counts how often each is.
	open map[cid.Cid]int
	// fresh are those opened since a collection looked last; nil when there is
	// no collection.
	fresh []cid.Cid
	// watched says that there is a collection.
	watched bool
}

func newUsage() *usage { return &usage{open: map[cid.Cid]int{}} }

// add notes that a file is open. It waits while blocks are being removed, which
// takes milliseconds.
func (u *usage) add(c cid.Cid) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open[c]++
	if u.watched {
		u.fresh = append(u.fresh, c)
	}
}

func (u *usage) remove(c cid.Cid) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.open[c]--; u.open[c] == 0 {
		delete(u.open, c)
	}
}

// watch begins a collection, which unwatch ends.
func (u *usage) watch() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.watched, u.fresh = true, nil
	for c := range u.open {
		u.fresh = append(u.fresh, c)
	}
}

func (u *usage) unwatch() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.watched, u.fresh = false, nil
}

// take returns the files that a collection has not seen yet. If there are none
// nobody opens one until the caller calls unlock.
func (u *usage) take() (fresh []cid.Cid, unlock func()) {
	u.mu.Lock()
	if len(u.fresh) == 0 {
		return nil, u.mu.Unlock
	}
	defer u.mu.Unlock()
	fresh, u.fresh = u.fresh, nil
	return fresh, nil
}
