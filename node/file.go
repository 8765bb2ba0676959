package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// file is an image.File with the powers of image.LimitedWriterTo,
// image.Expecter and image.Checker.
type file struct {
	*loader
	c      cid.Cid
	root   *page
	pos    int64
	leaf   leaf // the one read last; its zero value has no bytes
	begun  run  // the one that was made sure of when the file was opened
	window window
	sure   int64 // what lies before this offset will be read
	// planned are the ranges that have been asked for side by side.
	planned []image.Range

	closed  bool
	counted bool // among those that read all of the file
}

func newFile(ctx context.Context, c *content, p image.Path) *file {
	begin, ok := image.FirstIn(ctx)
	if !ok {
		begin = image.First{To: firstWindow}
	}
	return &file{loader: &loader{content: c, ctx: ctx, op: "open", path: p, begin: begin}}
}

// open finds the file and makes sure that the first byte to be read is here.
func (f *file) open(names []string) error {
	if err := f.ctx.Err(); err != nil {
		return f.failed(cid.Undef, err)
	}
	c, err := f.resolve(names)
	if err != nil {
		return err
	}
	if c.Type() != cid.Raw && c.Type() != cid.DagProtobuf {
		return &image.NotFileError{Path: f.path, Kind: codecName(c)}
	}
	f.content.inUse.add(c)
	f.c = c
	root, err := f.page(whole(c, nil, f.begin))
	if err != nil {
		return f.notRoot(err)
	}
	f.root = root
	if f.path.Rest != "" {
		f.content.files.Add(f.path, c)
	}
	return f.ready()
}

// notRoot turns the error of a block that begins no file into what it is.
func (f *file) notRoot(err error) error {
	var other *notFile
	switch {
	case errors.As(err, &other):
		return f.notFile(other)
	case errors.Is(err, errNotUnixFS):
		return &image.NotFileError{Path: f.path, Kind: "dag-pb node without UnixFS data"}
	}
	return err
}

// ready makes sure that the first byte to be read is here. That of a warm file
// costs no more than looking whether its block is still there.
func (f *file) ready() error {
	if f.root.size == 0 {
		return nil
	}
	from := f.begin.From
	if from >= f.root.size { // there is none, as reading will show
		from = 0
	}
	l, err := f.locate(from)
	if err != nil {
		return err
	}
	f.begun = l
	f.content.haunts.hit(f.c, l.cid)
	if l.kind == rawLeaf {
		if f.content.disk.proven(l.cid, l.size()) {
			return nil
		}
		f.content.opened.forget(l.cid)
	}
	if from == 0 && f.begin.To == firstWindow { // nothing was said
		return f.load(l, notAhead)
	}
	return f.load(l, min(f.begin.To, from+firstWindow, f.root.size))
}

func (f *file) Size() int64  { return f.root.size }
func (f *file) CID() cid.Cid { return f.c }

func (f *file) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		offset += f.root.size
	default:
		return 0, fmt.Errorf("seek %s: unknown whence %d", f.path, whence)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek %s: to %d, before its beginning", f.path, offset)
	}
	f.pos, f.sure = offset, 0
	return offset, nil
}

func (f *file) Read(p []byte) (int, error) {
	if err := f.usable(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if f.pos >= f.root.size {
		return 0, io.EOF
	}
	if err := f.at(f.until()); err != nil {
		return 0, err
	}
	p = p[:min(int64(len(p)), f.leaf.end-f.pos)]
	n, err := f.leaf.ReadAt(p, f.pos-f.leaf.start)
	f.pos += int64(n)
	if err != nil && n < len(p) {
		return n, f.shrunk(err)
	}
	return n, nil
}

var _ image.Expecter = (*file)(nil)

// Expect implements image.Expecter.
func (f *file) Expect(n int64) { f.sure = f.pos + n }

// until is the offset before which all will be read, 0 if that is not known.
func (f *file) until() int64 {
	if f.pos < f.sure {
		return f.sure
	}
	return 0
}

var _ image.LimitedWriterTo = (*file)(nil)

// WriteNTo implements image.LimitedWriterTo. The bytes of a block that lies in
// a file of its own go from there to w, by sendfile if w can.
func (f *file) WriteNTo(w io.Writer, n int64) (int64, error) {
	if err := f.usable(); err != nil {
		return 0, err
	}
	var written int64
	for written < n {
		if f.pos >= f.root.size {
			return written, io.ErrUnexpectedEOF
		}
		if err := f.at(f.pos + n - written); err != nil {
			return written, err
		}
		part, err := f.content.writeTo(w, &f.leaf, f.pos-f.leaf.start, min(n-written, f.leaf.end-f.pos))
		written += part
		f.pos += part
		if errors.Is(err, errShort) {
			return written, f.shrunk(err)
		}
		if err != nil {
			return written, err
		}
		if err := f.usable(); err != nil {
			return written, err
		}
	}
	return written, nil
}

// Close ends the retrieval of what was asked ahead.
func (f *file) Close() error {
	if !f.closed && f.c.Defined() {
		f.content.inUse.remove(f.c)
	}
	f.closed = true
	if f.counted {
		f.counted = false
		f.content.supply.spread.read(f.c, -1)
	}
	f.loader.close()
	f.release()
	return nil
}

// release gives the bytes of f.leaf back.
func (f *file) release() {
	if f.leaf.file != nil {
		f.content.opened.release(f.leaf.file)
	}
	f.leaf = leaf{}
}

func (f *file) usable() error {
	if f.closed {
		return fmt.Errorf("read %s: %w", f.path, os.ErrClosed)
	}
	if f.ctx.Err() != nil {
		return f.failed(cid.Undef, f.ctx.Err())
	}
	return nil
}

// at makes f.leaf the one that holds the byte at f.pos, which is below the size.
// The reader is sure to need what lies before the offset until.
func (f *file) at(until int64) error {
	if f.pos >= f.leaf.start && f.pos < f.leaf.end {
		if f.retrieval != nil {
			f.readAhead(f.leaf.run, until)
		}
		return nil
	}
	l, err := f.locate(f.pos)
	if err != nil {
		return err
	}
	return f.load(l, until)
}

// locate finds the leaf that holds the byte at pos.
func (f *file) locate(pos int64) (run, error) {
	p, base := f.root, int64(0)
	for range maxDepth {
		s, start := p.find(pos - base)
		if s.kind != subtree {
			return run{segment{s.cid, base + s.end, s.kind}, base + start}, nil
		}
		child, err := f.page(inside(s.cid, pos-base-start, s.end-start))
		if err != nil {
			return run{}, err
		}
		if size := s.end - start; child.size != size {
			return run{}, f.corrupt(s.cid, fmt.Errorf("it has %d bytes, and the node above says %d", child.size, size))
		}
		p, base = child, base+start
	}
	return run{}, f.corrupt(f.c, fmt.Errorf("it is nested deeper than %d nodes", maxDepth))
}

func (f *file) shrunk(err error) error {
	return f.corrupt(f.leaf.cid, fmt.Errorf("its file on the disk changed while it was read: %w", err))
}
