package node

import (
	"context"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	// So much of a file comes around a Range of it that is not here: more for
	// each block of it that is read, less for each Range that is missing again.
	minAround   = 2 << 20
	firstAround = 6 << 20
	maxAround   = 8 << 20
	moreAround  = 2 << 20
	lessAround  = 1 << 20
	// aroundPart is how much of that comes in one stream.
	aroundPart = 1 << 20
	// slowLink, in bytes a second, is how slow a link may have become since it was
	// measured: what is under way for nobody by then can't be taken back, and must
	// not take it for as long as a reader waits.
	slowLink = 1 << 20
	// aroundLimit is how long it may take.
	aroundLimit = time.Second
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
	max   int64         // that comes around a Range
	limit time.Duration // how long that may take
	quick time.Duration // how soon the Range has to have come
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
	return &haunts{max: maxAround, limit: aroundLimit, quick: quick, files: files}
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

// around has the blocks come on both sides of a run that the reader of a Range
// had to wait for, no more than the link carries in the time of an answer: so
// what comes in vain takes no longer than a wait that is saved. It begins when
// the run has come, in time, so that on a slow link nothing comes but what
// somebody waits for, and goes on without the reader.
func (f *file) around(l run, waited time.Duration) {
	if !f.ofRange() || f.begin.To <= probeSize || l.start != f.begun.start || !f.inTime(waited) {
		return
	}
	size := min(f.content.haunts.missed(f.c), f.content.mostAround()) / 2
	if size < aroundPart {
		return
	}
	from, to := l.start, min(max(f.begin.To, l.end), f.root.size)
	parts, _ := f.collectParts(to, min(to+size, f.root.size), aroundPart)
	before, _ := f.collectParts(max(from-size, 0), from, aroundPart)
	parts = append(parts, before...)
	f.content.haunts.expect(f.c, parts)
	f.content.bring(image.Part{Path: f.path, From: from, To: to, Image: f.dag()}, parts)
}

// bring fetches batches of the DAG of a part in the background. They are for
// nobody yet, so that what is prefetched need not make room for them, and brief:
// one Range often follows another before what is around the first can come.
func (c *content) bring(part image.Part, batches []batch) {
	c.prefetches.begin(part, func(ctx context.Context) {
		ctx, cancel := context.WithTimeoutCause(ctx, c.haunts.limit, errMoved)
		defer cancel()
		l := &loader{content: c, ctx: image.Of(ctx, part.Image), path: part.Path, idle: true}
		defer l.close()
		fetcher := l.retrieve().fetcher
		var group errgroup.Group
		for _, b := range batches {
			b.idle, b.brief = true, true
			group.Go(func() error { return fetcher.fetch(ctx, b, c.learn) })
		}
		_ = group.Wait() // nobody has asked for it
	})
}

// inFlight is how many bytes the best of the sources sends in the time that it
// takes to answer; 0 if none has been measured.
func (s *supply) inFlight() (most int64) {
	for _, source := range s.sources() {
		most = max(most, source.inFlight())
	}
	return most
}

// mostAround is how much may be under way for nobody: what the link carries in the
// time of an answer, and if it becomes slow before a reader gives up.
func (c *content) mostAround() int64 {
	return min(c.supply.inFlight(), int64(c.fetchTimeout.Seconds()*slowLink*2/3))
}
