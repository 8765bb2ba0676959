package lazy

import (
	"archive/tar"
	"bytes"
	"io"

	"github.com/containerd/stargz-snapshotter/estargz"
)

// partSize is how many bytes of a tar one core packs at a time. A part begins a
// new stream, so the bytes of a layer depend on this number, and not on that of
// the cores.
const partSize = 8 << 20

// piece is either bytes or the bytes [from, to) of the tar.
type piece struct {
	data     []byte
	from, to int64
}

func (p piece) size() int64 { return int64(len(p.data)) + p.to - p.from }

// sequence is the tar as it is packed, in pieces.
type sequence struct {
	tar    *io.SectionReader
	pieces []piece
}

// newSequence puts a landmark between the entries of first, up to which a
// snapshotter fetches ahead, and those of rest.
func newSequence(tar *io.SectionReader, first, rest []entry) (*sequence, error) {
	name := estargz.NoPrefetchLandmark
	if len(first) > 0 {
		name = estargz.PrefetchLandmark
	}
	mark, err := landmark(name)
	if err != nil {
		return nil, err
	}
	s := &sequence{tar: tar}
	for _, e := range first {
		s.pieces = append(s.pieces, piece{from: e.from, to: e.to})
	}
	s.pieces = append(s.pieces, piece{data: mark})
	for _, e := range rest {
		s.pieces = append(s.pieces, piece{from: e.from, to: e.to})
	}
	return s, nil
}

// landmark is an entry by whose name and place a snapshotter knows what to do.
func landmark(name string) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 1}); err != nil {
		return nil, err
	}
	if _, err := w.Write([]byte{0xf}); err != nil {
		return nil, err
	}
	err := w.Flush() // what pads it
	return buf.Bytes(), err
}

// end appends what ends a tar, for a format whose table of contents does not.
func (s *sequence) end() {
	s.pieces = append(s.pieces, piece{data: make([]byte, 2*tarBlock)})
}

// whole reads all of it.
func (s *sequence) whole() io.Reader { return s.reader(s.pieces) }

// parts are the parts that are packed by themselves, in their order.
func (s *sequence) parts() []io.Reader {
	var parts []io.Reader
	from, size := 0, int64(0)
	for i, p := range s.pieces {
		if size += p.size(); size >= partSize {
			parts = append(parts, s.reader(s.pieces[from:i+1]))
			from, size = i+1, 0
		}
	}
	if size > 0 {
		parts = append(parts, s.reader(s.pieces[from:]))
	}
	return parts
}

// reader reads pieces. What lies together is read together.
func (s *sequence) reader(pieces []piece) io.Reader {
	var all []io.Reader
	for i := 0; i < len(pieces); {
		p := pieces[i]
		i++
		if p.data != nil {
			all = append(all, bytes.NewReader(p.data))
			continue
		}
		for ; i < len(pieces) && pieces[i].data == nil && pieces[i].from == p.to; i++ {
			p.to = pieces[i].to
		}
		all = append(all, io.NewSectionReader(s.tar, p.from, p.to-p.from))
	}
	return io.MultiReader(all...)
}
