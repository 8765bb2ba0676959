package publish

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// newFile is a file that appears under its name whole and on disk, or not at
// all.
type newFile struct {
	*os.File
	name string
	done bool
}

func createFile(name string) (*newFile, error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".partial-*")
	if err != nil {
		return nil, err
	}
	return &newFile{File: f, name: name}, nil
}

// commit syncs the file, gives it its name and syncs the directory.
func (f *newFile) commit() error {
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.File.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), f.name); err != nil {
		return err
	}
	f.done = true
	return syncDir(filepath.Dir(f.name))
}

// Close removes what was not committed.
func (f *newFile) Close() error {
	if f.done {
		return nil
	}
	f.done = true
	_ = f.File.Close() // a commit that failed may have closed it
	return os.Remove(f.Name())
}

// writeNew makes a whole file of r.
func writeNew(name string, r io.Reader) (err error) {
	f, err := createFile(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	return f.commit()
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// WriteFile makes a file of what write writes: it appears under its name whole
// and on the disk, or not at all.
func WriteFile(name string, write func(io.Writer) error) (err error) {
	f, err := createFile(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := write(f); err != nil {
		return err
	}
	return f.commit()
}
