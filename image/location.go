package image

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/opencontainers/go-digest"
)

// location is where bytes are: a file, a section of one, or here.
type location struct {
	path Path
	// section, where there is one, is the part of the file that is meant.
	section *section
	// made are bytes that the form has made itself; path is then of no use.
	made []byte
}

// section is a part of a file, in bytes.
type section struct{ offset, size int64 }

// file is the location of a whole file.
func file(p Path) location { return location{path: p} }

// open opens what is at l; the caller closes it.
func (l location) open(ctx context.Context, source Source) (File, error) {
	if l.made != nil {
		return &memFile{Reader: bytes.NewReader(l.made), c: rawCID(digest.FromBytes(l.made))}, nil
	}
	if l.section == nil {
		return source.Open(ctx, l.path)
	}
	first, ok := FirstIn(ctx)
	if !ok {
		first.To = l.section.size
	}
	f, err := source.Open(first.within(*l.section).In(ctx), l.path)
	if err != nil {
		return nil, err
	}
	s := &sectionFile{File: f, section: *l.section}
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		_ = f.Close() // only read
		return nil, err
	}
	return s, nil
}

// sectionFile is a section of a file as a File of its own.
type sectionFile struct {
	File
	section
	pos int64 // from the beginning of the section
}

func (f *sectionFile) Size() int64 { return f.size }

func (f *sectionFile) Read(p []byte) (int, error) {
	if f.pos >= f.size {
		return 0, io.EOF
	}
	n, err := f.File.Read(p[:min(int64(len(p)), f.size-f.pos)])
	f.pos += int64(n)
	if err == io.EOF && f.pos < f.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (f *sectionFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		offset += f.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek in %s: to %d, before the beginning of the section", f.CID(), offset)
	}
	if _, err := f.File.Seek(f.offset+offset, io.SeekStart); err != nil {
		return 0, err
	}
	f.pos = offset
	return offset, nil
}

// Check checks the file, where it can.
func (f *sectionFile) Check(first, n int64) error {
	return check(f.File, first, min(n, max(f.size-f.pos, 0)))
}

// WriteNTo takes the cheap way of the file, where it has one.
func (f *sectionFile) WriteNTo(w io.Writer, n int64) (int64, error) {
	direct, ok := f.File.(LimitedWriterTo)
	if !ok {
		return copyN(w, f, n)
	}
	left := max(f.size-f.pos, 0)
	written, err := direct.WriteNTo(w, min(n, left))
	f.pos += written
	if err == nil && n > left {
		err = io.ErrUnexpectedEOF
	}
	return written, err
}

// rawCID is the CID of the raw block that has the digest, undefined where the
// digest is not SHA-256. A blob that is one block has that CID.
func rawCID(dgst digest.Digest) cid.Cid {
	sum, ok := sha256Sum(dgst)
	if !ok {
		return cid.Undef
	}
	mh, err := multihash.Encode(sum, multihash.SHA2_256)
	if err != nil {
		return cid.Undef
	}
	return cid.NewCidV1(cid.Raw, mh)
}
