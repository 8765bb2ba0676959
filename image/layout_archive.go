package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image/archive"
)

// archived is an image in a tar file that lies on IPFS as one file: an OCI
// image layout ("oci-archive"), or what "docker save" writes. Blobs are served
// from where they are in it.
type archived struct {
	title  string
	index  []ocispec.Descriptor
	places map[digest.Digest]location
}

func (l *archived) name() string                { return l.title }
func (l *archived) roots() []ocispec.Descriptor { return l.index }

func (l *archived) locate(desc ocispec.Descriptor) (location, error) {
	at, ok := l.places[desc.Digest]
	if !ok {
		return at, fmt.Errorf("the image names it, but the archive has no entry %s", blobPath(desc.Digest))
	}
	return at, nil
}

func (l *archived) guess(dgst digest.Digest) []location {
	if at, ok := l.places[dgst]; ok {
		return []location{at}
	}
	return nil
}

// tarball is an archive that is being read. It is read by one goroutine.
type tarball struct {
	file  File
	path  Path
	index *archive.Index
}

// openArchive reads the tar file f, found at p; the caller closes it.
func openArchive(f File, p Path) (form, error) {
	l, err := readArchive(f, p)
	var fault *archive.FaultError
	if errors.As(err, &fault) {
		return nil, notImage(p, fmt.Errorf("it is a tar archive of %d bytes, but %w", f.Size(), err))
	}
	return l, err
}

func readArchive(f File, p Path) (form, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	index, err := archive.Read(f, f.Size())
	if err != nil {
		return nil, err
	}
	t := &tarball{file: f, path: p, index: index}
	layout, docker := t.has(ocispec.ImageIndexFile), t.has(archive.DockerManifest)
	switch {
	case t.has(ocispec.ImageLayoutFile) || layout && !docker:
		return t.layout()
	case docker:
		return t.docker()
	default:
		names := slices.Sorted(index.Names())
		return nil, &archive.FaultError{Err: fmt.Errorf("it has neither oci-layout and index.json nor manifest.json; its entries are %s",
			shorten(strings.Join(names[:min(len(names), 10)], ", ")))}
	}
}

func (t *tarball) has(name string) bool {
	_, err := t.index.Find(name)
	return err == nil
}

// at is the location of an entry.
func (t *tarball) at(name string) (location, error) {
	where, err := t.index.Find(name)
	return location{path: t.path, section: &section{where.Offset, where.Size}}, err
}

// open implements archive.Opener. What it opens is read before the next.
func (t *tarball) open(name string) (io.ReadCloser, int64, error) {
	where, err := t.index.Find(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = &archive.FaultError{Err: err}
	}
	if err != nil {
		return nil, 0, err
	}
	s := &sectionFile{File: t.file, section: section{where.Offset, where.Size}}
	_, err = s.Seek(0, io.SeekStart)
	return io.NopCloser(s), where.Size, err
}

func (t *tarball) read(name string) ([]byte, error) {
	if !t.has(name) {
		return nil, fmt.Errorf("the entry %s: %w", name, fs.ErrNotExist)
	}
	r, size, err := t.open(name)
	if err != nil {
		return nil, err
	}
	if size > MaxManifest {
		return nil, errTooLarge
	}
	data := make([]byte, size)
	_, err = io.ReadFull(r, data)
	return data, err
}

// layout reads an OCI image layout. Of the index only where the blobs are is
// kept.
func (t *tarball) layout() (form, error) {
	roots, err := readLayout(t.path, "tar archive", t.read)
	if err != nil {
		return nil, err
	}
	l := &archived{title: "OCI image layout in a tar archive", index: roots, places: map[digest.Digest]location{}}
	for name := range t.index.Names() {
		hash, ok := strings.CutPrefix(name, ocispec.ImageBlobsDir+"/")
		dgst := digest.Digest(strings.Replace(hash, "/", ":", 1))
		if !ok || dgst.Validate() != nil {
			continue
		}
		if at, err := t.at(name); err == nil { // a link that leads nowhere is as good as nothing
			l.places[dgst] = at
		}
	}
	return l, nil
}

// docker reads an archive of "docker save" that is no layout besides.
func (t *tarball) docker() (form, error) {
	data, err := t.read(archive.DockerManifest)
	if errors.Is(err, errTooLarge) {
		return nil, &archive.FaultError{Err: fmt.Errorf("of its manifest.json: %w", err)}
	}
	if err != nil {
		return nil, err
	}
	all, err := archive.ParseDocker(data)
	if err != nil {
		return nil, err
	}
	l := &archived{title: "archive of docker save", places: map[digest.Digest]location{}}
	for _, im := range all {
		if err := t.describe(l, im); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// describe adds an image of the archive to l.
func (t *tarball) describe(l *archived, im archive.DockerImage) error {
	d, err := im.Describe(t.open)
	if errors.Is(err, archive.ErrCorrupt) {
		return &Error{Class: Corrupt, Op: fmt.Sprintf("read the archive at %s", t.path), Err: err, Hint: "save the image anew"}
	}
	if err != nil {
		return err
	}
	for dgst, name := range d.Names {
		if l.places[dgst], err = t.at(name); err != nil {
			return err
		}
	}
	l.places[d.Root.Digest] = location{made: d.Manifest}
	if len(im.RepoTags) == 0 {
		l.index = append(l.index, d.Root)
	}
	for _, name := range im.RepoTags {
		desc := d.Root
		desc.Annotations = map[string]string{ocispec.AnnotationRefName: name}
		l.index = append(l.index, desc)
	}
	return nil
}
