package node

import (
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/go-cid"
)

const (
	// So much of a file comes around a Range of it that is not here: more for
	// each block of it that is read, less for each Range that is missing again.
	minAround   = 2 << 20
	firstAround = 6 << 20
	maxAround   = 8 << 20
	moreAround  = 2 << 20
	lessAround  = 1 << 20
	// probeSize is the length of a Range that only asks whether there are such.
	probeSize = 2
	// Of so many files it is remembered where they are read, and of each so many
	// blocks that came around others.
	maxHaunts = 256
	maxComing = 1024
)

// haunts are the files that are read a little here and there, as by a file
// system that is mounted from them: what is read next mostly lies near. It is
// safe for concurrent use.
type haunts struct {
	max   int64 // that comes around a Range
	files *lru.Cache[cid.Cid, *haunt]
}

// haunt is what came around the Ranges of one file.
type haunt struct {
	mu     sync.Mutex
	size   int64 // that comes around the next
	coming map[cid.Cid]bool
}

func newHaunts() *haunts {
	files, err := lru.New[cid.Cid, *haunt](maxHaunts)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &haunts{max: maxAround, files: files}
}

// hit notes that a block is read, which may have come around another.
func (h *haunts) hit(file, block cid.Cid) {
	known, ok := h.files.Peek(file)
	if !ok {
		return
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	if known.coming[block] {
		delete(known.coming, block)
		known.size = min(known.size+moreAround, maxAround)
	}
}

// missed returns how much shall come around a block that is not here: nothing
// for the first, which may be the only one.
func (h *haunts) missed(file cid.Cid) int64 {
	known, ok := h.files.Get(file)
	if !ok {
		h.files.Add(file, &haunt{size: firstAround, coming: map[cid.Cid]bool{}})
		return 0
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	size := min(known.size, h.max)
	known.size = max(known.size-lessAround, minAround)
	return size
}

// expect notes what comes around a block.
func (h *haunts) expect(file cid.Cid, parts []batch) {
	known, ok := h.files.Peek(file)
	if !ok {
		return
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	if len(known.coming) > maxComing {
		clear(known.coming)
	}
	for _, b := range parts {
		for _, w := range b.wanted {
			known.coming[w.cid] = true
		}
	}
}

// around has the blocks come on both sides of those that the reader of a Range
// waits for, no more than the link carries while it waits for an answer: so
// what comes in vain takes no longer than what is not waited for later. It goes
// on after the reader has left, as all streams do.
func (f *file) around(l run) {
	if !f.ofRange() || f.begin.To <= probeSize {
		return
	}
	size := min(f.content.haunts.missed(f.c), f.content.supply.inFlight()) / 2
	if size < rangeSize {
		return
	}
	from, to := l.start, min(max(f.begin.To, l.end), f.root.size)
	parts, _ := f.collectParts(to, min(to+size, f.root.size), rangeSize)
	before, _ := f.collectParts(max(from-size, 0), from, rangeSize)
	parts = append(parts, before...)
	f.content.haunts.expect(f.c, parts)
	f.retrieve().ask(parts...)
}

// inFlight is how many bytes the best of the sources sends in the time that it
// takes to answer; 0 if none has been measured.
func (s *supply) inFlight() (most int64) {
	for _, source := range s.sources() {
		most = max(most, source.inFlight())
	}
	return most
}
