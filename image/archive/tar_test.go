package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/ipfs-registry/ipfs-registry/image/archive"
)

func pack(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
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
	return buf.Bytes()
}

func TestFindFollowsLinks(t *testing.T) {
	data := pack(t, tar.Header{Name: "./dir/file", Size: 700}, tar.Header{Name: "dir/soft", Typeflag: tar.TypeSymlink, Linkname: "../dir/file"},
		tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "dir/soft"}, tar.Header{Name: "astray", Typeflag: tar.TypeSymlink, Linkname: "../../x"})
	x, err := archive.Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dir/file", "dir/soft", "hard", "./hard"} {
		if got, err := x.Find(name); err != nil || got != (archive.Section{Offset: 512, Size: 700}) {
			t.Errorf("%s is at %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"astray", "other", "../dir/file"} {
		if _, err := x.Find(name); err == nil {
			t.Errorf("%s was found", name)
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	many := make([]tar.Header, 16*4096+1)
	for i := range many {
		many[i].Name = strconv.Itoa(i)
	}
	long := make([]tar.Header, 20)
	for i := range long {
		long[i].Name = strconv.Itoa(i) + strings.Repeat("x", 1<<20-100)
	}
	for want, headers := range map[string][]tar.Header{"more than 65536 entries": many, "more than 16777216 bytes": long} {
		data := pack(t, headers...)
		_, err := archive.Read(bytes.NewReader(data), int64(len(data)))
		if fault := (*archive.FaultError)(nil); !errors.As(err, &fault) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want a fault that says %q", err, want)
		}
	}
}

// again is endless: the same bytes over and over.
type again struct {
	data []byte
	at   int64
}

func (a *again) Read(p []byte) (int, error) {
	n := copy(p, a.data[a.at%int64(len(a.data)):])
	a.at += int64(n)
	return n, nil
}

func (a *again) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekStart {
		a.at = 0
	}
	a.at += offset
	return a.at, nil
}

// Few blocks can be an archive without an end, of headers that lead to no entry.
func TestHeadersWithoutAnEnd(t *testing.T) {
	data := pack(t, tar.Header{Name: "x", PAXRecords: map[string]string{"A.B": "c"}})
	const headerAndRecords = 2 * 512
	_, err := archive.Read(&again{data: data[:headerAndRecords]}, 1<<60)
	if fault := (*archive.FaultError)(nil); !errors.As(err, &fault) || !strings.Contains(err.Error(), "its headers have more than") {
		t.Error(err)
	}
}

// torn is a reader that fails.
type torn struct {
	io.ReadSeeker
	err error
}

func (r torn) Read([]byte) (int, error) { return 0, r.err }

func TestAReaderThatFailsIsNoFaultOfTheArchive(t *testing.T) {
	want := errors.New("out of reach")
	_, err := archive.Read(torn{bytes.NewReader(nil), want}, 1000)
	if fault := (*archive.FaultError)(nil); !errors.Is(err, want) || errors.As(err, &fault) {
		t.Errorf("%v; want the error of the reader", err)
	}
}

func FuzzRead(f *testing.F) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	w.WriteHeader(&tar.Header{Name: "a", Size: 3})
	w.Write([]byte("abc"))
	w.WriteHeader(&tar.Header{Name: "b", Typeflag: tar.TypeSymlink, Linkname: "a"})
	w.Close()
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := archive.Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for name := range x.Names() {
			if s, err := x.Find(name); err == nil && (s.Offset < 0 || s.Size < 0 || s.Offset+s.Size > int64(len(data))) {
				t.Fatalf("%q is at %v of %d bytes", name, s, len(data))
			}
		}
	})
}

func FuzzParseDocker(f *testing.F) {
	f.Add([]byte(`[{"Config":"c","RepoTags":["a:v1"],"Layers":["l"]}]`), []byte(`{"rootfs":{"diff_ids":["sha256:x"]}}`))
	f.Fuzz(func(t *testing.T, data, content []byte) {
		all, err := archive.ParseDocker(data)
		if err != nil {
			return
		}
		for _, im := range all {
			d, err := im.Describe(func(string) (io.ReadCloser, int64, error) {
				return io.NopCloser(bytes.NewReader(content)), int64(len(content)), nil
			})
			if err == nil && (d.Root.Size != int64(len(d.Manifest)) || len(d.Names) == 0) {
				t.Fatalf("%+v", d)
			}
		}
	})
}
