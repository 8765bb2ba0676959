package publish

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/archive"
)

// tarSource is a tar file whose entries are read where they lie.
type tarSource struct {
	file  *os.File
	index *archive.Index
}

// openArchive reads the headers of the tar file.
func openArchive(name string) (*tarSource, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, &archive.FaultError{Err: fmt.Errorf("%s is no regular file", name)}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return readArchive(f)
}

// readArchive takes over f.
func readArchive(f *os.File) (*tarSource, error) {
	a := &tarSource{file: f}
	if err := a.scan(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

// scan notes where each entry is.
func (a *tarSource) scan() error {
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	a.index, err = archive.Read(a.file, info.Size())
	return err
}

// open implements files.
func (a *tarSource) open(name string) (io.ReadCloser, int64, error) {
	where, err := a.index.Find(name)
	if err != nil {
		return nil, 0, err
	}
	return io.NopCloser(io.NewSectionReader(a.file, where.Offset, where.Size)), where.Size, nil
}

func (a *tarSource) Close() error { return a.file.Close() }

// archiveError says what is wrong with the archive at where.
func archiveError(where location, err error) error {
	var fault *archive.FaultError
	switch {
	case errors.As(err, &fault):
		return fail(image.NotImage, "read "+where.text, err, "make the archive anew, uncompressed")
	case errors.Is(err, fs.ErrNotExist):
		return notFound("read "+where.text, err, "check the path")
	default:
		return fmt.Errorf("read %s: %w", where.text, err)
	}
}
