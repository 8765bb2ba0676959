package node

import (
	"cmp"
	"slices"
	"time"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// plan asks at once for the ranges that the reader has said it will read, where
// it named several, as soon as a block came in time that the reader waited for.
// On a slow link each would only delay the one that is read first, and they come
// one after the other. What is here is not asked for.
func (f *file) plan(waited time.Duration) {
	if len(f.begin.Then) == 0 || f.planned != nil || !f.inTime(waited) {
		return
	}
	all := append([]image.Range{{From: f.begin.From, To: f.begin.To}}, f.begin.Then...)
	slices.SortFunc(all, func(a, b image.Range) int { return cmp.Compare(a.From, b.From) })
	var parts []batch
	left, pos := f.maxWindow(), int64(0)
	for _, r := range all {
		r = image.Range{From: max(r.From, pos), To: min(r.To, f.root.size)}
		if r.From >= r.To {
			continue
		}
		if left -= r.To - r.From; left < 0 {
			break // it is read later, one after the other
		}
		more, end := f.collect(r.From, r.To)
		parts, pos = joined(parts, more), end
		f.planned = append(f.planned, r)
	}
	if len(parts) > 0 {
		f.retrieve().ask(direct(parts)...)
	}
}

// inTime reports whether a block that came after a time came so soon that many
// side by side come before a reader gives up.
func (f *file) inTime(waited time.Duration) bool {
	return waited < min(f.content.haunts.quick, f.content.fetchTimeout/maxStreams)
}

// joined is parts with more after them; what lies together and is no larger
// than a part is one.
func joined(parts, more []batch) []batch {
	if len(parts) == 0 || len(more) == 0 {
		return append(parts, more...)
	}
	last, next := &parts[len(parts)-1], more[0]
	if last.span.to == next.span.from && (next.span.to-1)/partSize == last.span.from/partSize {
		last.wanted = append(last.wanted, next.wanted...)
		last.span.to = next.span.to
		more = more[1:]
	}
	return append(parts, more...)
}

// isPlanned reports whether all that is read of l has been asked for.
func (f *file) isPlanned(l run) bool {
	return slices.ContainsFunc(f.planned, func(r image.Range) bool { return r.From < l.end && r.To > l.start })
}
