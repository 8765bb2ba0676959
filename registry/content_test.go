package registry_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/registry"
)

// onDisk is a Source whose files lie on the disk and know the cheap way.
type onDisk struct {
	image.Source
	dir    string
	direct *atomic.Int64
}

type diskFile struct {
	image.File
	f      *os.File
	direct *atomic.Int64
}

func (s onDisk) Open(ctx context.Context, p image.Path) (image.File, error) {
	f, err := s.Source.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(s.dir, f.CID().String())
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		return nil, err
	}
	disk, err := os.Open(name)
	return diskFile{f, disk, s.direct}, err
}

func (f diskFile) Read(p []byte) (int, error)                   { return f.f.Read(p) }
func (f diskFile) Seek(offset int64, whence int) (int64, error) { return f.f.Seek(offset, whence) }
func (f diskFile) Close() error                                 { return f.f.Close() }
func (f diskFile) WriteNTo(w io.Writer, n int64) (int64, error) {
	n, err := io.CopyN(w, f.f, n)
	f.direct.Add(n)
	return n, err
}

func TestAFileThatKnowsACheaperWayTakesIt(t *testing.T) {
	var direct atomic.Int64
	w := start(t, func(s image.Source) registry.Images { return plain(onDisk{s, t.TempDir(), &direct}) })
	url := w.path("blobs/%s", digest.FromBytes(layer))
	for header, want := range map[string][]byte{"": layer, "bytes=5-1000004": layer[5:1000005]} {
		direct.Store(0)
		res, body := do(t, "GET", url, "Range", header)
		if !bytes.Equal(body, want) {
			t.Errorf("%q: %d bytes arrived; want %d", header, len(body), len(want))
		}
		eventually(t, func() bool { return direct.Load() == int64(len(want)) }, "the bytes of %q to go the cheap way", header)
		if got := res.Header.Get("Content-Length"); got != fmt.Sprint(len(want)) {
			t.Errorf("%q: Content-Length %s", header, got)
		}
	}
	eventually(t, func() bool {
		return counted(t, w, "ipfs_registry_response_bytes_total", "blob") == float64(len(layer)+1000000)
	}, "the bytes to be counted")
}

// waitingFiles is a Source whose large files wait in Read for as long as they
// are open. They have no lock, as they need none.
type waitingFiles struct {
	image.Source
	reading, closed chan struct{} // closed by the first that is read
	overlapped      bool
}

type waitingFile struct {
	image.File
	ctx        context.Context
	of         *waitingFiles
	used, read bool
}

func (s *waitingFiles) Open(ctx context.Context, p image.Path) (image.File, error) {
	f, err := s.Source.Open(ctx, p)
	if err != nil || f.Size() < int64(len(layer)) {
		return f, err
	}
	return &waitingFile{File: f, ctx: ctx, of: s}, nil
}

func (f *waitingFile) Read([]byte) (int, error) {
	f.used, f.read = true, true
	close(f.of.reading)
	select {
	case <-f.ctx.Done():
	case <-f.of.closed:
	}
	f.used = false
	return 0, io.ErrUnexpectedEOF
}

func (f *waitingFile) Close() error {
	if f.read {
		f.of.overlapped = f.used
		close(f.of.closed)
	}
	return f.File.Close()
}

// torn is an answer whose connection is reset while more is read for it.
type torn struct {
	http.ResponseWriter
	reading <-chan struct{}
}

func (w torn) Write([]byte) (int, error) {
	<-w.reading
	return 0, syscall.ECONNRESET
}

// http.ServeContent leaves the reading of several ranges behind when the client
// goes. It ends before the file is closed, which one goroutine at a time may
// use, and is not waited for until something arrives.
func TestNothingReadsAFileThatIsClosed(t *testing.T) {
	files := &waitingFiles{reading: make(chan struct{}), closed: make(chan struct{})}
	w := start(t, func(s image.Source) registry.Images { files.Source = s; return plain(files) })
	u, err := url.Parse(w.path("blobs/%s", digest.FromBytes(layer)))
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, u.Path, nil)
	req.Header.Set("Range", "bytes=0-9,2000000-2000009")
	w.handler.ServeHTTP(torn{httptest.NewRecorder(), files.reading}, req)
	<-files.closed
	if files.overlapped {
		t.Error("the file was closed while it was read")
	}
	if got := counted(t, w, "ipfs_registry_failures_total", "internal"); got != 0 {
		t.Errorf("%v failures are counted; a client that has gone is none", got)
	}
}

// eventually waits for what the server does after the client has its answer.
func eventually(t *testing.T, ok func() bool, format string, args ...any) {
	t.Helper()
	tick, end := time.NewTicker(time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited ten seconds for "+format, args...)
		}
	}
}

// TestASlowReaderIsServedAndOthersToo has a client read a byte, then another
// client the whole blob, then the first one the rest.
func TestASlowReaderIsServedAndOthersToo(t *testing.T) {
	w := start(t, plain)
	url := w.path("blobs/%s", digest.FromBytes(layer))
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(res.Body, first); err != nil {
		t.Fatal(err)
	}
	if _, body := do(t, "GET", url); !bytes.Equal(body, layer) {
		t.Error("the second client did not get the blob")
	}
	rest, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Equal(append(first, rest...), layer) {
		t.Errorf("the slow client got %d bytes, %v", len(rest)+1, err)
	}
}

// Who announces a body and does not send it has an answer all the same: nothing of
// an image is held for a client that is waited for.
func TestABodyIsNotWaitedFor(t *testing.T) {
	w := start(t, plain)
	u, err := url.Parse(w.path("blobs/%s", digest.FromBytes(layer)))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1\r\n\r\n", u.Path, u.Host)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, layer) {
		t.Errorf("%s, %d bytes, %v", resp.Status, len(got), err)
	}
}
