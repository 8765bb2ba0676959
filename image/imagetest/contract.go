package imagetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Filled is a Source to be tested and the way to put content into it.
type Filled interface {
	image.Source
	Adder
}

// Adder is what images can be put into.
type Adder interface {
	AddFile(data []byte) cid.Cid
	// AddDir stores a directory tree; the names are slash-separated.
	AddDir(entries map[string]cid.Cid) cid.Cid
}

// TestSource checks that a Source keeps the contract of image.Source. absent is
// a CID that nobody has.
func TestSource(t *testing.T, s Filled, absent cid.Cid) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	c := s.AddFile(big)
	dir := s.AddDir(map[string]cid.Cid{"a/b/big": c, "empty": s.AddFile(nil)})
	t.Run("reads a file whole", func(t *testing.T) {
		f := open(t, s, image.Path{Root: c})
		if f.Size() != int64(len(big)) || !f.CID().Equals(c) {
			t.Fatalf("size %d, CID %s; want %d, %s", f.Size(), f.CID(), len(big), c)
		}
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, big) {
			t.Fatalf("read %d bytes, %v; want the %d stored", len(got), err, len(big))
		}
	})
	t.Run("follows names and seeks", func(t *testing.T) {
		f := open(t, s, image.Path{Root: dir, Rest: "a/b/big"})
		testSeek(t, f, big)
	})
	t.Run("opens an empty file", func(t *testing.T) {
		f := open(t, s, image.Path{Root: dir, Rest: "empty"})
		if got, err := io.ReadAll(f); err != nil || len(got) != 0 || f.Size() != 0 {
			t.Fatalf("read %q, %v, size %d; want nothing", got, err, f.Size())
		}
	})
	t.Run("tells absent from unreachable from a directory", func(t *testing.T) { testErrors(t, s, dir, absent) })
	t.Run("stops with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f, err := s.Open(ctx, image.Path{Root: c})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cancel()
		if _, err := io.Copy(io.Discard, onlyReader{f}); !errors.Is(err, context.Canceled) {
			t.Fatalf("a read after the end of the context gave %v", err)
		}
	})
}

type onlyReader struct{ io.Reader }

func open(t *testing.T, s image.Source, p image.Path) image.File {
	t.Helper()
	f, err := s.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // only read
	return f
}

func testSeek(t *testing.T, f image.File, want []byte) {
	for _, off := range []int64{0, 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, int64(len(want)) - 5} {
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, min(20, int64(len(want))-off))
		if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, want[off:off+int64(len(got))]) {
			t.Fatalf("at %d read %q, %v", off, got, err)
		}
	}
	if pos, err := f.Seek(0, io.SeekEnd); err != nil || pos != int64(len(want)) {
		t.Fatalf("the end is at %d, %v; want %d", pos, err, len(want))
	}
	if n, err := f.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("a read at the end gave %d bytes, %v; want EOF", n, err)
	}
}

func testErrors(t *testing.T, s image.Source, dir, absent cid.Cid) {
	if _, err := s.Open(t.Context(), image.Path{Root: dir, Rest: "a/nothing"}); image.ClassOf(err) != image.NotFound {
		t.Errorf("an absent name gave %v; want the class NotFound", err)
	}
	if _, err := s.Open(t.Context(), image.Path{Root: absent}); image.ClassOf(err) != image.Unavailable {
		t.Errorf("a CID nobody has gave %v; want the class Unavailable", err)
	}
	var other *image.NotFileError
	if _, err := s.Open(t.Context(), image.Path{Root: dir}); !errors.As(err, &other) || other.Kind != "directory" || len(other.Entries) != 2 {
		t.Errorf("a directory gave %v; want a NotFileError with its two entries", err)
	}
}
