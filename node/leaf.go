package node

import (
	"errors"
	"fmt"
	"io"
	"time"

	ipld "github.com/ipfs/go-ipld-format"
)

// minSendfile is how many bytes are worth a file opened for sendfile alone.
const minSendfile = 64 << 10

// errShort is why a leaf gave less than it should have.
var errShort = errors.New("it is shorter than it was")

// run is the bytes [start, end) of a file, which one block holds.
type run struct {
	segment // its end counts from the beginning of the whole file
	start   int64
}

func (r run) size() int64 { return r.end - r.start }

// leaf is a run with its bytes. They are in a file on the disk, all of it, or
// in memory.
type leaf struct {
	run
	file *blockFile
	data []byte
}

// ReadAt implements io.ReaderAt, from the beginning of the leaf on.
func (l *leaf) ReadAt(p []byte, off int64) (int, error) {
	if l.file != nil {
		return l.file.ReadAt(p, off)
	}
	n := copy(p, l.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// writeTo writes n bytes from off on, which the leaf has.
func (c *content) writeTo(w io.Writer, l *leaf, off, n int64) (int64, error) {
	if l.file == nil {
		written, err := w.Write(l.data[off : off+n])
		return int64(written), err
	}
	if n >= minSendfile {
		if file, ok := c.alone(l); ok {
			defer c.opened.release(file)
			return sendFile(w, file.File, off, n)
		}
	}
	return c.copyFile(w, l.file, off, n)
}

// alone returns a file of the leaf whose offset nobody else moves.
func (c *content) alone(l *leaf) (*blockFile, bool) {
	if !l.file.shared {
		l.file.users++
		return l.file, true
	}
	return c.opened.openAlone(l.cid, l.size())
}

// sendFile hands the file over in the one form, an io.LimitedReader, that a
// net/http response and a TCP connection know to give to the kernel.
func sendFile(w io.Writer, file io.ReadSeeker, off, n int64) (int64, error) {
	if _, err := file.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	written, err := io.Copy(w, &io.LimitedReader{R: file, N: n})
	if err == nil && written < n {
		err = errShort
	}
	return written, err
}

func (c *content) copyFile(w io.Writer, file io.ReaderAt, off, n int64) (int64, error) {
	buf := c.disk.buffer()
	defer c.disk.buffers.Put(buf)
	var written int64
	for written < n {
		p := buf[:min(n-written, minSendfile)]
		if got, err := file.ReadAt(p, off+written); got < len(p) {
			return written, errors.Join(errShort, err)
		}
		wrote, err := w.Write(p)
		written += int64(wrote)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// load makes l, with its bytes, f.leaf, and keeps what comes after it coming
// once something had to be retrieved.
func (f *file) load(l run, until int64) error {
	f.release()
	bulk := until-f.pos >= minSendfile
	onDisk := f.openLeaf(l, bulk)
	if !onDisk || f.retrieval != nil {
		f.readAhead(l, until)
	}
	if onDisk {
		return nil
	}
	if f.mayCome(l) {
		begun := time.Now()
		nd, err := f.retrieve().get(single(l.cid), false)
		if err != nil {
			return f.failed(l.cid, err)
		}
		waited := time.Since(begun)
		f.plan(waited)
		f.around(l, waited)
		if nd != nil {
			return f.hold(l, nd)
		}
		if f.openLeaf(l, bulk) {
			return nil
		}
	}
	nd, err := f.node(l.cid)
	if err != nil {
		return err
	}
	return f.hold(l, nd)
}

// openLeaf opens the file of l's block, if it has one. A file of another size
// than l's is not believed: then the block itself says who is wrong. One of
// other bytes is no file. For bulk the file is f's alone.
func (f *file) openLeaf(l run, bulk bool) bool {
	if l.kind != rawLeaf {
		return false
	}
	open := f.content.opened.open
	if bulk {
		open = f.content.opened.openAlone
	}
	file, ok := open(l.cid, l.size())
	if ok {
		f.leaf = leaf{run: l, file: file}
	}
	return ok
}

// hold takes the bytes of l from its block.
func (f *file) hold(l run, nd ipld.Node) error {
	data := nd.RawData()
	if l.kind == inline {
		_, fs, err := parseUnixFS(nd)
		if err != nil {
			return f.corrupt(l.cid, err)
		}
		data = fs.Data()
	}
	if int64(len(data)) == l.size() {
		f.leaf = leaf{run: l, data: data}
		return nil
	}
	if err := checkHash(nd); err != nil {
		return f.corrupt(l.cid, err)
	}
	return f.corrupt(l.cid, fmt.Errorf("it has %d bytes, and the node above says %d", len(data), l.size()))
}

// mayCome reports whether the block of l is seen to be missing or damaged.
func (f *file) mayCome(l run) bool {
	_, ok := f.content.disk.path(l.cid)
	return ok && l.kind == rawLeaf && !f.content.disk.here(l.cid)
}
