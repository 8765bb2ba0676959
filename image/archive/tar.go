package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path"
	"strings"
)

const (
	// maxEntries is how many entries an archive may have: some for each of the
	// digests that an image may name.
	maxEntries = 16 * maxLayers
	// maxNames is how many bytes the names of all entries may have.
	maxNames = 16 << 20
	// maxHeaders is how many bytes all headers may have: those of some kinds may
	// stand one after the other without an entry.
	maxHeaders = 256 << 20
	// maxLinks is how many links may stand one after the other.
	maxLinks = 8
)

// FaultError says that the bytes of an archive are at fault, and not the way to
// them.
type FaultError struct{ Err error }

func (e *FaultError) Error() string { return e.Err.Error() }
func (e *FaultError) Unwrap() error { return e.Err }

func fault(format string, args ...any) error { return &FaultError{fmt.Errorf(format, args...)} }

// Section is where the content of an entry is, in bytes.
type Section struct{ Offset, Size int64 }

// Index says where the entries of an archive are.
type Index struct {
	entries map[string]entry
	names   int // bytes
}

// entry is a regular file, or a link when it has a target.
type entry struct {
	Section
	target string
}

// Read reads the headers of the archive r of size bytes, and seeks over what is
// between them. The error is a [FaultError] when r is no archive that can be
// read, and that of r when r fails.
func Read(r io.ReadSeeker, size int64) (*Index, error) {
	x := &Index{entries: map[string]entry{}}
	in := &headerReader{r, maxHeaders}
	headers := tar.NewReader(in)
	for n := 0; ; n++ {
		h, err := headers.Next()
		switch {
		case err == io.EOF && n > 0:
			return x, nil
		case err == io.EOF || err == io.ErrUnexpectedEOF || errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong):
			return nil, fault("it is no whole tar archive: %w", err)
		case errors.Is(err, errHeaders):
			return nil, fault("%w", err)
		case err != nil:
			return nil, err
		case n == maxEntries:
			return nil, fault("it has more than %d entries", maxEntries)
		}
		offset, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if err := x.note(h, offset, size); err != nil {
			return nil, err
		}
	}
}

var errHeaders = fmt.Errorf("its headers have more than %d bytes", maxHeaders)

// headerReader is an archive of which a part is read, and the other sought over.
type headerReader struct {
	io.ReadSeeker
	left int // bytes that may be read
}

func (r *headerReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errHeaders
	}
	n, err := r.ReadSeeker.Read(p)
	r.left -= n
	return n, err
}

// note takes in an entry whose content begins at offset of the end bytes.
func (x *Index) note(h *tar.Header, offset, end int64) error {
	name := path.Clean(strings.TrimPrefix(h.Name, "/"))
	if !fs.ValidPath(name) {
		return fault("its entry %s leads out of it", quote(h.Name))
	}
	e := entry{Section: Section{offset, h.Size}}
	switch {
	case h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader:
		return nil
	case isSparse(h):
		return fault("its entry %s is a sparse file", quote(h.Name))
	case h.Typeflag == tar.TypeSymlink:
		e = entry{target: path.Join(path.Dir(name), h.Linkname)}
	case h.Typeflag == tar.TypeLink:
		e = entry{target: path.Clean(h.Linkname)}
	case h.Typeflag != tar.TypeReg:
		return fault("its entry %s is neither a file nor a directory nor a link", quote(h.Name))
	case h.Size < 0 || h.Size > end-offset:
		return fault("it ends within its entry %s", quote(h.Name))
	}
	if _, ok := x.entries[name]; ok {
		return fault("it has the entry %s twice", quote(h.Name))
	}
	if x.names += len(name) + len(e.target); x.names > maxNames {
		return fault("the names of its entries have more than %d bytes", maxNames)
	}
	x.entries[name] = e
	return nil
}

// isSparse reports whether the content of an entry is not in the archive as it
// is read.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// Find returns where the content of a file is, links followed. The error is
// fs.ErrNotExist when there is no such entry.
func (x *Index) Find(name string) (Section, error) {
	name = path.Clean(name)
	for range maxLinks {
		e, ok := x.entries[name]
		if !ok {
			return Section{}, fmt.Errorf("the entry %s: %w", quote(name), fs.ErrNotExist)
		}
		if e.target == "" {
			return e.Section, nil
		}
		name = e.target
	}
	return Section{}, fault("its entry %s is a link to a link to a link…", quote(name))
}

// Names are the names of the files and links, in no order.
func (x *Index) Names() iter.Seq[string] { return maps.Keys(x.entries) }

// quote quotes what may be long and hostile.
func quote(s string) string {
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return fmt.Sprintf("%q", s)
}
