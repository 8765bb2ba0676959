package publish

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// files are the files of a directory or an archive, by slash-separated names.
type files interface {
	// open opens a regular file and tells its size in bytes. The error is
	// fs.ErrNotExist when it is not there.
	open(name string) (io.ReadCloser, int64, error)
	Close() error
}

// directory is a directory of the machine.
type directory string

func (d directory) Close() error { return nil }

func (d directory) open(name string) (io.ReadCloser, int64, error) {
	full := filepath.Join(string(d), filepath.FromSlash(name))
	info, err := os.Stat(full)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, 0, fmt.Errorf("%s is no regular file", full)
	}
	f, err := os.Open(full)
	return f, info.Size(), err
}

// exists reports whether f has the file.
func exists(f files, name, of string) (bool, error) {
	rc, _, err := f.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, classed("read "+of, err)
	}
	return true, rc.Close()
}

// openBlob opens the file that has the content of desc.
func openBlob(f files, name string, desc ocispec.Descriptor, of string) (io.ReadCloser, error) {
	op := "read " + desc.Digest.String() + " of " + of
	rc, size, err := f.open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, notFound(op, errors.New("it is named there and has no file"), "get the image again with its content")
	case err != nil:
		return nil, classed(op, err)
	case size != desc.Size:
		why := fmt.Errorf("it has %d bytes and its descriptor says %d", size, desc.Size)
		return nil, errors.Join(fail(image.Corrupt, op, why, "get the image anew from where it was made"), rc.Close())
	}
	return rc, nil
}

var errTooLarge = fmt.Errorf("it has more than %d bytes", image.MaxManifest)

// readFile reads a small file.
func readFile(f files, name string) ([]byte, error) {
	rc, size, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	if size > image.MaxManifest {
		return nil, errTooLarge
	}
	return io.ReadAll(io.LimitReader(rc, image.MaxManifest))
}
