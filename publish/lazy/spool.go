package lazy

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// tarBlock is the size in bytes that all of a tar file is a multiple of.
const tarBlock = 512

// Spool is a file without a name: nothing is left of it when the process ends,
// however it does. It is written first and read then, by several at once.
type Spool struct {
	file *os.File
	size int64
}

// NewSpool makes one on the disk of dir. The caller closes it.
func NewSpool(dir string) (*Spool, error) {
	f, err := os.CreateTemp(dir, ".layer-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Spool{file: f}, nil
}

// Write appends.
func (s *Spool) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	s.size += int64(n)
	return n, err
}

// ReadFrom appends what r has. From another spool the kernel copies it.
func (s *Spool) ReadFrom(r io.Reader) (int64, error) {
	n, err := s.file.ReadFrom(r)
	s.size += n
	return n, err
}

// appendSpool appends all that other has, and closes other.
func (s *Spool) appendSpool(other *Spool) error {
	_, err := other.file.Seek(0, io.SeekStart)
	if err == nil {
		_, err = s.ReadFrom(other.file)
	}
	return errors.Join(err, other.Close())
}

// pad makes the size that of a whole tar.
func (s *Spool) pad() error {
	if odd := s.size % tarBlock; odd > 0 {
		_, err := s.Write(make([]byte, tarBlock-odd))
		return err
	}
	return nil
}

// Size is what was written, in bytes.
func (s *Spool) Size() int64 { return s.size }

// Reader reads it from the beginning, independently of others.
func (s *Spool) Reader() *io.SectionReader { return io.NewSectionReader(s.file, 0, s.size) }

// Close gives the disk back.
func (s *Spool) Close() error {
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("close a spool: %w", err)
	}
	return nil
}
