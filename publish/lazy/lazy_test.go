package lazy_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/ipfs-registry/ipfs-registry/image/archive"
	"github.com/ipfs-registry/ipfs-registry/publish/lazy"
)

// spool is a spool with data.
func spool(t testing.TB, data []byte) *lazy.Spool {
	t.Helper()
	s, err := lazy.NewSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Write(data); err != nil {
		t.Fatal(err)
	}
	return s
}

// many is a tar of several parts, with a file of several chunks among small ones.
func many(t testing.TB) []byte {
	t.Helper()
	random := rand.NewChaCha8([32]byte{3})
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := range 3000 {
		size := int64(i % 4096 * 7)
		if i == 1500 {
			size = 9 << 20
		}
		name := "dir/" + digest.FromString(string(rune(i))).Encoded() + string(bytes.Repeat([]byte("long"), i%60))
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "1"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, random, size); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestPackMakesTheSameBytesWhateverTheCores(t *testing.T) {
	data := many(t)
	for _, format := range []lazy.Format{lazy.EStargz, lazy.ZstdChunked} {
		var first digest.Digest
		for _, cores := range []int{1, 3} {
			l, err := lazy.NewPacker(format, t.TempDir(), nil, cores).Pack(t.Context(), spool(t, data))
			if err != nil {
				t.Fatal(err)
			}
			got, err := digest.FromReader(l.Reader())
			if err != nil || got != l.Digest {
				t.Errorf("its bytes have the digest %s, %v; it says %s", got, err, l.Digest)
			}
			if first == "" {
				first = got
			}
			if got != first {
				t.Errorf("%s with %d cores: %s; want %s", format, cores, got, first)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// What was a tar is in the new one byte for byte, after the landmark.
func TestPackKeepsTheBytesOfTheTar(t *testing.T) {
	data := many(t)
	l, err := lazy.NewPacker(lazy.EStargz, t.TempDir(), nil, 2).Pack(t.Context(), spool(t, data))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	z, err := gzip.NewReader(l.Reader())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if digest.FromBytes(got) != l.DiffID {
		t.Error("the tar has another digest than the layer says")
	}
	if !bytes.HasPrefix(got[1024:], data[:len(data)-1024]) {
		t.Error("the entries are not as they were")
	}
	r, err := estargz.Open(l.Reader())
	if err != nil {
		t.Fatal(err)
	}
	for entries := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := entries.Next()
		if err == io.EOF {
			break
		}
		want, err := io.ReadAll(entries)
		if err != nil {
			t.Fatal(err)
		}
		if len(want) == 0 {
			continue
		}
		f, err := r.OpenFile(h.Name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: %d bytes, %v; want %d", h.Name, len(got), err, len(want))
		}
	}
}

func TestPackTakesWhatIsNeededWithAFile(t *testing.T) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir}, {Name: "./old", Size: 1}, {Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "c"}},
		{Name: "./usr/", Typeflag: tar.TypeDir}, {Name: "./usr/file", Size: 2}, {Name: "./old", Size: 2},
		{Name: ".no.prefetch.landmark", Size: 1}, {Name: "./usr/link", Typeflag: tar.TypeLink, Linkname: "./usr/file"}, {Name: "loop", Typeflag: tar.TypeLink, Linkname: "loop"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := lazy.NewPacker(lazy.ZstdChunked, t.TempDir(), []string{"/usr/link", "loop", "none"}, 1).Pack(t.Context(), spool(t, buf.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	z, err := zstd.NewReader(l.Reader())
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var names []string
	for entries := tar.NewReader(z); ; {
		h, err := entries.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	got := strings.Join(names, " ")
	want := "./ ./usr/ ./usr/file ./usr/link loop .prefetch.landmark ./old"
	if got != want || len(l.Missed) != 1 {
		t.Errorf("%s, missed %q; want %s", got, l.Missed, want)
	}
}

// Nothing is left on the disk, and no more memory is held than a few parts.
func TestPackSpoolsOnTheDisk(t *testing.T) {
	dir, data := t.TempDir(), spool(t, many(t))
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l, err := lazy.NewPacker(lazy.EStargz, dir, nil, 2).Pack(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if l.Size() < 30<<20 || after.HeapInuse > before.HeapInuse+16<<20 {
		t.Errorf("a layer of %d bytes holds %d bytes of memory", l.Size(), after.HeapInuse-before.HeapInuse)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left behind, %v", left, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzPack(f *testing.F) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range []tar.Header{{Name: "d/", Typeflag: tar.TypeDir}, {Name: "d/f", Size: 3}, {Name: "l", Typeflag: tar.TypeLink, Linkname: "d/f"}} {
		_ = w.WriteHeader(&h)
		_, _ = w.Write(make([]byte, h.Size))
	}
	_ = w.Close()
	f.Add(buf.Bytes(), "d/f")
	f.Add(make([]byte, 1024), "")
	f.Add([]byte("no tar"), "/")
	f.Fuzz(func(t *testing.T, data []byte, first string) {
		l, err := lazy.NewPacker(lazy.EStargz, t.TempDir(), []string{first}, 2).Pack(t.Context(), spool(t, data))
		if err != nil {
			return
		}
		defer l.Close()
		z, err := gzip.NewReader(l.Reader())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := digest.FromReader(z); err != nil || got != l.DiffID {
			t.Errorf("the tar has the digest %s, %v; the layer says %s", got, err, l.DiffID)
		}
	})
}

func TestPackSaysThatItIsNoTar(t *testing.T) {
	_, err := lazy.NewPacker(lazy.EStargz, t.TempDir(), nil, 1).Pack(t.Context(), spool(t, bytes.Repeat([]byte("no tar. "), 100)))
	var flaw *archive.FaultError
	if !errors.As(err, &flaw) {
		t.Errorf("%v; want a fault of the layer", err)
	}
}
