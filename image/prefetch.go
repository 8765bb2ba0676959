package image

import (
	"cmp"
	"slices"
	"sync"

	"github.com/ipfs/go-cid"
)

const (
	// maxAhead is how many bytes of a blob are fetched before anybody has asked
	// for it, and maxAheadAll those of all the blobs of a manifest: who reads
	// the manifest alone must not get the image along with it.
	maxAhead    = 4 << 20
	maxAheadAll = 32 << 20
	// maxSmall is what does not count as large.
	maxSmall = 1 << 20
)

// Part is the bytes [From, To) of the file at a path.
type Part struct {
	Path
	From, To int64
	// Image is the root of the image that it belongs to, for [Of]; undefined where
	// that is the root of the path.
	Image cid.Cid
}

// Prefetcher is the power of a Source that fetches what will probably be opened
// soon. Prefetch begins to bring the parts, in this order, and does not wait.
// What is here already costs nothing, readers come first, what nobody opens in
// time is given up, and who opens a part joins what brings it. A part that
// can't be had is nobody's failure.
type Prefetcher interface {
	Prefetch(parts []Part)
}

// readManifest is a manifest of which the first read has its blobs fetched: so
// a GET has them come and a HEAD does not.
type readManifest struct {
	File
	ahead func()
}

func (f *readManifest) Read(p []byte) (int, error) {
	f.ahead()
	return f.File.Read(p)
}

// manifest returns doc as a file whose reader will read its blobs as well.
func (im *resolved) manifest(doc *document, f File) File {
	p, ok := im.source.(Prefetcher)
	if !ok || doc.manifest.Config == nil && doc.manifest.Layers == nil {
		return f
	}
	return &readManifest{f, sync.OnceFunc(func() { p.Prefetch(im.ahead(doc.manifest)) })}
}

// ahead are the parts of the blobs of m that whoever reads m reads first. The
// large come last: what layers are mounted by does not wait for the files in
// them.
func (im *resolved) ahead(m *Manifest) []Part {
	parts := im.parts(m)
	size := func(p Part) int64 { return max(p.To-p.From, maxSmall) }
	slices.SortStableFunc(parts, func(a, b Part) int { return cmp.Compare(size(a), size(b)) })
	return parts
}

func (im *resolved) parts(m *Manifest) []Part {
	var parts []Part
	left := int64(maxAheadAll)
	for _, desc := range m.blobs() {
		p, ok := im.table.get(desc.Digest)
		if !ok || p.lost != nil || p.at.made != nil {
			continue
		}
		for _, s := range readFirst(desc) {
			size := min(s.size, left)
			if size <= 0 {
				return parts
			}
			left -= size
			part := p.at.part(section{s.offset, size})
			part.Image = im.path.Root
			parts = append(parts, part)
		}
	}
	return parts
}

// part is the part of a file that holds a section of what is at l.
func (l location) part(s section) Part {
	if l.section != nil {
		s.offset += l.section.offset
	}
	return Part{Path: l.path, From: s.offset, To: s.offset + s.size}
}
