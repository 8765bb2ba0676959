package node

import (
	"github.com/multiformats/go-multihash"
)

const (
	// firstWindow is how many bytes are asked ahead of a reader that begins;
	// the window doubles as the reader goes on.
	firstWindow = 4 << 20
	// maxWindow keeps a link of 1 GB/s busy at a round trip of 100 ms. Nothing
	// of it is held in memory.
	maxWindow = 128 << 20
	// maxHeldWindow is for blocks that are held in memory until they are read.
	maxHeldWindow = 8 << 20
	// partSize is how much of a file is asked for in one stream.
	partSize = 4 << 20
	// maxAsk bounds the blocks looked at, and so asked for, at once.
	maxAsk = 512
	// notAhead, as the offset that a reader surely needs, asks for no more.
	notAhead = -1
)

// window is what has been asked for ahead of the reader: the runs that start
// in [from, to).
type window struct {
	from, to int64
	size     int64 // to be kept ahead of the reader
	at       int64 // where the reader was last
}

// readAhead keeps the runs after l coming. It is for files of which something
// had to be retrieved; of any other it can be hoped that all is on the disk.
// A reader that reads a little here and there gets no window: it would be
// fetched in vain. The reader is sure to need what lies before until.
func (f *file) readAhead(l run, until int64) {
	if until == notAhead || f.isPlanned(l) {
		return
	}
	w, nodes := &f.window, []batch(nil)
	switch begun := w.to > 0; {
	case begun && l.start == w.at:
		return
	case !begun || l.start < w.from || l.start > w.to:
		f.retrieve().reset()
		*w = window{from: l.start, to: l.end, at: l.start}
		if l != f.leaf.run {
			w.to = l.start
		}
		nodes = f.nodes(l.start, max(until, f.begin.To))
		if until <= l.end && (l.start > 0 || until > 0) {
			w.to = l.end
			f.retrieve().ask(nodes...)
			return
		}
	case w.to-l.start > max(w.size, min(until-l.start, f.maxWindow()))/2:
		w.at = l.start
		return
	}
	w.at = l.start
	w.size = min(max(2*w.size, firstWindow, until-l.start), f.maxWindow())
	end := l.start + w.size
	if until > 0 {
		end = min(end, until)
	}
	parts, to := f.collect(w.to, end)
	if until > 0 && f.ofRange() {
		parts = direct(parts)
	}
	f.retrieve().ask(append(nodes, parts...)...)
	w.to = to
	f.count()
}

// ofRange reports whether the file was opened to read a little of it.
func (f *file) ofRange() bool { return !f.idle && f.begin.To-f.begin.From < partSize }

// direct has the first of parts not queue with those that nobody waits for now.
func direct(parts []batch) []batch {
	for i := range parts {
		parts[i].direct = i < maxStreams
	}
	return parts
}

// nodes returns the nodes below the root that are on the way to [from, to) and
// not known, to be asked for before leaves. From who sends single blocks, in the
// order in which they were asked for, they would come after the leaves that are
// known, and nothing would be under way meanwhile.
func (f *file) nodes(from, to int64) []batch {
	var unknown []wanted
	start := int64(0)
	for _, s := range f.root.segments {
		if start < to && s.end > from && f.unknown(s) && len(unknown) < maxAsk {
			unknown = append(unknown, wanted{s.cid, place{start: start, end: s.end}})
		}
		start = s.end
	}
	if len(unknown) == 0 {
		return nil
	}
	return []batch{{wanted: unknown, direct: true}}
}

// unknown reports whether s leads to a node that has not come.
func (f *file) unknown(s segment) bool {
	if s.kind != subtree || f.content.disk.here(s.cid) {
		return false
	}
	_, known := f.content.pages.get(s.cid)
	return !known
}

// count tells that all of the file is read here, until it is closed.
func (f *file) count() {
	if s := f.content.supply.spread; s != nil && !f.counted {
		f.counted = true
		s.read(f.c, 1)
	}
}

func (f *file) maxWindow() int64 {
	if _, ok := f.content.disk.path(f.c); ok {
		return maxWindow
	}
	return maxHeldWindow
}

// collect returns the blocks of the runs from offset from on to offset to that
// are not on the disk, in parts that each lie together, and the offset up to
// which it knows them: where a node is not known yet, the node is the last that
// it returns.
func (f *file) collect(from, to int64) ([]batch, int64) { return f.collectParts(from, to, partSize) }

// collectParts is collect with parts of a size.
func (f *file) collectParts(from, to, size int64) ([]batch, int64) {
	var parts []batch
	pos := from
	for range maxAsk {
		if pos >= min(to, f.root.size) {
			break
		}
		r, ok := f.peek(pos)
		if !ok {
			break
		}
		if r.cid.Prefix().MhType != multihash.IDENTITY && !f.content.disk.here(r.cid) {
			parts = f.addTo(parts, r, to, size)
		}
		if r.kind == subtree && r.size() > maxBlock {
			break
		}
		pos = r.end
	}
	return parts, pos
}

// addTo adds a run to the last of parts, or to a new one if it lies elsewhere
// or the last is as large as size. Of a node that is not known yet the part goes
// up to offset to.
func (f *file) addTo(parts []batch, r run, to, size int64) []batch {
	w := wanted{r.cid, place{start: r.start, end: r.end}}
	end := r.end
	if r.kind == subtree {
		end = min(end, to)
	}
	if n := len(parts); n > 0 {
		// The parts are the same for everybody, whatever each has already.
		if last := &parts[n-1]; last.span.to == r.start && (end-1)/size == last.span.from/size {
			last.wanted = append(last.wanted, w)
			last.span.to = end
			return parts
		}
	}
	return append(parts, batch{wanted: []wanted{w}, span: span{root: f.c, from: r.start, to: end}})
}

// peek finds the run at pos, or the node above it that is not known yet,
// without loading anything.
func (f *file) peek(pos int64) (run, bool) {
	p, base := f.root, int64(0)
	for range maxDepth {
		s, start := p.find(pos - base)
		r := run{segment{s.cid, base + s.end, s.kind}, base + start}
		if s.kind != subtree {
			return r, true
		}
		child, known := f.content.pages.get(s.cid)
		if !known {
			return r, true
		}
		if child.size != r.size() {
			return run{}, false
		}
		p, base = child, r.start
	}
	return run{}, false
}
