package image

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// smallBlob is the size in bytes up to which a blob is verified before its
// first byte is handed out. A config is far below it, a layer is far above.
const smallBlob = 1 << 20

// prove returns f as the content that desc describes. What has been verified
// before is not hashed again; what is small is verified here; the rest is
// verified while it is read. It closes f when it fails.
func (v *verdicts) prove(f File, desc ocispec.Descriptor) (*Content, error) {
	if f.Size() != desc.Size {
		_ = f.Close() // only read
		return nil, corrupt(desc.Digest, f.CID(), fmt.Errorf("it has %d bytes and its descriptor says %d", f.Size(), desc.Size))
	}
	if v.verified(f, desc.Digest) {
		return &Content{File: f, Descriptor: desc, Proven: true}, nil
	}
	if desc.Size > smallBlob {
		return &Content{File: &verifyingFile{File: f, dgst: desc.Digest, hash: desc.Digest.Algorithm().Hash(), verdicts: v}, Descriptor: desc}, nil
	}
	data, err := v.readAll(f, desc.Digest)
	if err != nil {
		return nil, err
	}
	return &Content{File: &memFile{Reader: bytes.NewReader(data), c: f.CID()}, Descriptor: desc, Proven: true}, nil
}

// readAll reads, verifies and closes f, whose size the caller has bounded.
func (v *verdicts) readAll(f File, dgst digest.Digest) ([]byte, error) {
	defer f.Close()
	data := make([]byte, f.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, naming(dgst, err)
	}
	if got := dgst.Algorithm().FromBytes(data); got != dgst {
		return nil, corrupt(dgst, f.CID(), fmt.Errorf("its bytes have the digest %s", got))
	}
	v.remember(f, dgst)
	return data, nil
}

func corrupt(dgst digest.Digest, c cid.Cid, why error) error {
	return &Error{Class: Corrupt, Op: fmt.Sprintf("verify %s in /ipfs/%s", dgst, c), Err: why,
		Hint: "ask whoever made this CID to publish the image again"}
}

// naming makes the error of a damaged block say which content it is of.
func naming(dgst digest.Digest, err error) error {
	if ClassOf(err) != Corrupt {
		return err
	}
	return &Error{Class: Corrupt, Op: "read " + dgst.String(), Err: err}
}

// verifyingFile hashes what is read from its beginning on, in order, and holds
// the last bytes back until the digest has proved right. Reads out of order are
// proved by their blocks to the CID only.
type verifyingFile struct {
	File
	dgst     digest.Digest
	hash     hash.Hash
	verdicts *verdicts
	pos      int64 // of the next Read
	hashed   int64 // bytes from the beginning on that are in hash
	lie      error
}

func (f *verifyingFile) Read(p []byte) (int, error) {
	if f.lie != nil {
		return 0, f.lie
	}
	n, err := f.File.Read(p)
	if skip := f.hashed - f.pos; skip >= 0 && skip < int64(n) {
		f.hash.Write(p[skip:n])
		f.hashed += int64(n) - skip
		if f.hashed == f.Size() {
			if f.lie = f.judge(); f.lie != nil {
				return 0, f.lie
			}
		}
	}
	f.pos += int64(n)
	return n, err
}

func (f *verifyingFile) judge() error {
	if got := digest.NewDigest(f.dgst.Algorithm(), f.hash); got != f.dgst {
		return corrupt(f.dgst, f.CID(), fmt.Errorf("its bytes have the digest %s", got))
	}
	f.verdicts.remember(f.File, f.dgst)
	return nil
}

func (f *verifyingFile) Seek(offset int64, whence int) (int64, error) {
	pos, err := f.File.Seek(offset, whence)
	if err == nil {
		f.pos = pos
	}
	return pos, err
}

// Check checks the file, where it can.
func (f *verifyingFile) Check(first, n int64) error { return check(f.File, first, n) }

// check uses the power of f to check itself, if it has it.
func check(f File, first, n int64) error {
	if c, ok := f.(Checker); ok {
		return c.Check(first, n)
	}
	return nil
}

// WriteNTo takes the cheap way where there is nothing to hash.
func (f *verifyingFile) WriteNTo(w io.Writer, n int64) (int64, error) {
	direct, ok := f.File.(LimitedWriterTo)
	if !ok || f.pos <= f.hashed {
		if e, ok := f.File.(Expecter); ok {
			e.Expect(n)
		}
		return copyN(w, f, n)
	}
	written, err := direct.WriteNTo(w, n)
	f.pos += written
	return written, err
}

// copyN is io.CopyN with a buffer as large as a block, so that a block is
// looked up once.
func copyN(w io.Writer, r io.Reader, n int64) (int64, error) {
	buf := make([]byte, max(min(n, 1<<20), 1))
	written, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(r, n), buf)
	if err == nil && written < n {
		err = io.ErrUnexpectedEOF
	}
	return written, err
}

// memFile is a File whose bytes have been read and verified.
type memFile struct {
	*bytes.Reader
	c cid.Cid
}

func (f *memFile) Close() error { return nil }
func (f *memFile) CID() cid.Cid { return f.c }

var errTooLarge = errors.New("it is larger than 4 MiB, the limit for manifests")
