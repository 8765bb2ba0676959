package image

import "context"

// First is the bytes [From, To) of a file that whoever opens it will read
// first. A Source that has to fetch the file fetches these bytes with what leads
// to them, and Open returns only when the first of them can be read. Without
// one it is the beginning of the file, of which all will be read.
type First struct {
	From, To int64
	// Then are further bytes, in the order in which they will be read, and no
	// others will be: so all of them are fetched at once.
	Then []Range
}

// Range is the bytes [From, To) of a file. What lies beyond its end counts for
// nothing.
type Range struct{ From, To int64 }

type firstKey struct{}

// In returns a context for an Open.
func (f First) In(ctx context.Context) context.Context { return context.WithValue(ctx, firstKey{}, f) }

// FirstIn returns what the context of an Open says; false if it is nothing.
func FirstIn(ctx context.Context) (First, bool) {
	f, ok := ctx.Value(firstKey{}).(First)
	return f, ok && f.From >= 0 && f.To > f.From
}

// within is the First of a whole file where f is that of a section of it.
func (f First) within(s section) First {
	first := Range{f.From, f.To}.within(s)
	moved := First{From: first.From, To: first.To}
	for _, r := range f.Then {
		moved.Then = append(moved.Then, r.within(s))
	}
	return moved
}

func (r Range) within(s section) Range {
	return Range{s.offset + min(r.From, s.size), s.offset + min(r.To, s.size)}
}
