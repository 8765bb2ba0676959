package lazy

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/containerd/stargz-snapshotter/estargz"

	"github.com/ipfs-registry/ipfs-registry/image/archive"
)

// maxEntries is how many entries a layer may have: the table of contents of
// each, and the manifest of all, are held in memory, by whoever mounts it too.
const maxEntries = 4 << 20

func fault(format string, args ...any) error {
	return &archive.FaultError{Err: fmt.Errorf(format, args...)}
}

// entry is an entry of a tar: the bytes [from, to) of it are its headers, its
// content and what pads that.
type entry struct {
	name     string // clean
	link     string // the name of the entry that a hard link is to
	from, to int64
}

// scan finds the entries of a tar. It leaves out what an earlier conversion
// added, entries that a later one of the same name replaces, and global headers,
// which no layer's file system has a place for.
func scan(r *io.SectionReader) ([]entry, error) {
	headers := tar.NewReader(r)
	var all []entry
	last := map[string]int{}
	for from := int64(0); ; {
		h, err := headers.Next()
		switch {
		case err == io.EOF:
			return compact(all), nil
		case err == io.ErrUnexpectedEOF || errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong):
			return nil, fault("it is no whole tar: %w", err)
		case err != nil:
			return nil, err
		case len(all) == maxEntries:
			return nil, fault("it has more than %d entries", maxEntries)
		}
		if err := checkHeader(h); err != nil {
			return nil, err
		}
		at, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		e := entry{name: clean(h.Name), from: from, to: min(padded(at+contentSize(h)), r.Size())}
		from = e.to
		if h.Typeflag == tar.TypeXGlobalHeader || isOurs(e.name) {
			continue
		}
		if h.Typeflag == tar.TypeLink {
			e.link = clean(h.Linkname)
		}
		if i, ok := last[e.name]; ok {
			all[i] = entry{}
		}
		last[e.name] = len(all)
		all = append(all, e)
	}
}

// compact drops the entries that were replaced.
func compact(all []entry) []entry {
	kept := all[:0]
	for _, e := range all {
		if e.to > 0 {
			kept = append(kept, e)
		}
	}
	return kept
}

// contentSize is how many bytes follow the header.
func contentSize(h *tar.Header) int64 {
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo:
		return 0
	}
	return h.Size
}

// checkHeader refuses an entry that no table of contents has a place for.
func checkHeader(h *tar.Header) error {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return fault("its entry %q is a sparse file", h.Name)
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo, tar.TypeXGlobalHeader:
		return nil
	}
	return fault("its entry %q has the type %q, which can't be read lazily", h.Name, h.Typeflag)
}

func isOurs(name string) bool {
	return name == estargz.TOCTarName || name == estargz.PrefetchLandmark || name == estargz.NoPrefetchLandmark
}

func padded(n int64) int64 { return (n + tarBlock - 1) / tarBlock * tarBlock }

// clean is a name as eStargz compares it: without the root, "" for that itself.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// order puts what is to be read first first.
type order struct {
	all    []entry
	byName map[string]int
	picked map[int]bool
	first  []entry
}

// prioritize returns the entries of the named files, with the directories that
// they are in and the files that they are hard links to, in the order of names;
// the other entries; and the names that the layer does not have.
func prioritize(all []entry, names []string) (first, rest []entry, missed []string) {
	o := &order{all: all, byName: map[string]int{}, picked: map[int]bool{}}
	for i, e := range all {
		o.byName[e.name] = i
	}
	for _, name := range names {
		if _, ok := o.byName[clean(name)]; !ok {
			missed = append(missed, name)
			continue
		}
		o.pick(clean(name))
	}
	for i, e := range all {
		if !o.picked[i] {
			rest = append(rest, e)
		}
	}
	return o.first, rest, missed
}

// pick takes the entry of a name, and before it those that it needs. Each is
// marked before what it needs is looked at, so that links in a circle end.
func (o *order) pick(name string) {
	i, ok := o.byName[name]
	if ok && o.picked[i] {
		return
	}
	if ok {
		o.picked[i] = true
	}
	if name != "" {
		parent, _ := path.Split(name)
		o.pick(clean(parent))
	}
	if !ok {
		return
	}
	if o.all[i].link != "" {
		o.pick(o.all[i].link)
	}
	o.first = append(o.first, o.all[i])
}
