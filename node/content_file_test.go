package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

func openFile(t testing.TB, c *content, p image.Path) *file {
	t.Helper()
	f, err := c.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f.(*file)
}

func TestReadsEqualTheOriginal(t *testing.T) {
	for _, s := range shapes() {
		t.Run(s.name+"/in memory", func(t *testing.T) { testReads(t, memoryStore(t), s) })
		t.Run(s.name+"/on disk", func(t *testing.T) { testReads(t, flatfsStore(t), s) })
	}
}

func testReads(t *testing.T, st *store, s shape) {
	c := offlineContent(st)
	root, data := s.build(t, c.dag)
	for _, opening := range []string{"first", "second"} {
		f := openFile(t, c, image.Path{Root: root})
		if f.Size() != int64(len(data)) || f.CID() != root {
			t.Fatalf("%s opening: size %d and CID %s, want %d and %s", opening, f.Size(), f.CID(), len(data), root)
		}
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%s opening: read %d bytes and %v, want the %d stored", opening, len(got), err, len(data))
		}
		testRandomReads(t, f, data)
	}
}

func testRandomReads(t *testing.T, f *file, data []byte) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		off := rng.IntN(len(data) + 1)
		n := min(rng.IntN(5000), len(data)-off)
		if rng.IntN(10) == 0 {
			n = len(data) - off
		}
		if _, err := f.Seek(int64(off), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		var err error
		if rng.IntN(2) == 0 {
			_, err = f.WriteNTo(&got, int64(n))
		} else {
			_, err = io.CopyN(&got, struct{ io.Reader }{f}, int64(n))
		}
		if err != nil || !bytes.Equal(got.Bytes(), data[off:off+n]) {
			t.Fatalf("%d bytes at %d: got %d bytes and %v", n, off, got.Len(), err)
		}
		if pos, _ := f.Seek(0, io.SeekCurrent); pos != int64(off+n) {
			t.Fatalf("after %d bytes at %d the offset is %d", n, off, pos)
		}
	}
}

func TestSeekAndTheEnd(t *testing.T) {
	c := offlineContent(memoryStore(t))
	root, data := shapes()[5].build(t, c.dag)
	f := openFile(t, c, image.Path{Root: root})
	if _, err := f.Seek(-1, io.SeekStart); err == nil {
		t.Error("a seek before the beginning succeeded")
	}
	if _, err := f.Seek(0, 9); err == nil {
		t.Error("a seek from nowhere succeeded")
	}
	if pos, err := f.Seek(5, io.SeekEnd); err != nil || pos != int64(len(data))+5 {
		t.Errorf("a seek beyond the end gave %d, %v", pos, err)
	}
	if n, err := f.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("a read beyond the end gave %d, %v", n, err)
	}
	if _, err := f.Seek(-3, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteNTo(io.Discard, 4); n != 3 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("writing 4 of the last 3 bytes gave %d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a read after Close gave %v", err)
	}
}

// A warm file is read from the disk alone: its blocks are neither read through
// the DAG service nor asked for.
func TestSecondOpeningReadsNoBlock(t *testing.T) {
	st := flatfsStore(t)
	c := offlineContent(st)
	root, data := shapes()[7].build(t, c.dag)
	dir, err := c.AddDir(t.Context(), map[string]cid.Cid{"a/b": root}, publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	p := image.Path{Root: dir, Rest: "a/b"}
	if _, err := openFile(t, c, p).WriteNTo(io.Discard, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	before := st.reads()
	f := openFile(t, c, p)
	var got bytes.Buffer
	if _, err := f.WriteNTo(&got, int64(len(data))); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Fatalf("got %d bytes, %v", got.Len(), err)
	}
	if n := st.reads() - before; n != 0 {
		t.Errorf("%d blocks were read", n)
	}
}

// sendfileProbe is a writer that sees what it is given to read from.
type sendfileProbe struct {
	bytes.Buffer
	fromFile int
}

func (p *sendfileProbe) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok {
			p.fromFile++
		}
	}
	return io.Copy(onlyWriter{&p.Buffer}, r)
}

func TestWritesFromTheFileOfALeaf(t *testing.T) {
	c := offlineContent(flatfsStore(t))
	root, data := shapes()[12].build(t, c.dag)
	f := openFile(t, c, image.Path{Root: root})
	probe := &sendfileProbe{}
	if _, err := f.WriteNTo(probe, int64(len(data))); err != nil || !bytes.Equal(probe.Bytes(), data) {
		t.Fatalf("got %d bytes, %v", probe.Len(), err)
	}
	if probe.fromFile != 20 { // the last leaf has seven bytes
		t.Errorf("%d of 20 leaves were given as files", probe.fromFile)
	}
}

// Files stay open among openings, within bounds, and not for long.
func TestOpenFilesAreLetGo(t *testing.T) {
	st := flatfsStore(t)
	c := offlineContent(st)
	root, data := shape{size: 300_000, chunk: 1000, links: 1024, raw: true}.build(t, c.dag)
	synctest.Test(t, func(t *testing.T) {
		c.opened = newOpenFiles(c.disk)
		f, err := c.Open(t.Context(), image.Path{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
		open := func() (files int, sweeping bool) {
			c.opened.mu.Lock()
			defer c.opened.mu.Unlock()
			return c.opened.recent.Len(), c.opened.sweeping
		}
		if n, _ := open(); n != maxOpenFiles {
			t.Errorf("%d files are open", n)
		}
		last := f.(*file).leaf.file
		time.Sleep(2*openFileIdle + time.Second) //nolint:forbidigo // the clock of the bubble, which nobody waits for
		synctest.Wait()
		if n, sweeping := open(); n != 0 || sweeping {
			t.Errorf("%d files are still open", n)
		}
		if _, err := last.Stat(); err != nil {
			t.Errorf("a file in use was closed: %v", err)
		}
		f.Close()
		if _, err := last.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a file without a user is open: %v", err)
		}
	})
}

func TestWritesToATCPConnection(t *testing.T) {
	c := offlineContent(flatfsStore(t))
	root, data := shapes()[12].build(t, c.dag)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	f := openFile(t, c, image.Path{Root: root})
	sent := make(chan error, 1)
	go func() {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err == nil {
			_, err = f.WriteNTo(conn, int64(len(data)))
			conn.Close()
		}
		sent <- err
	}()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("received %d bytes, %v", len(got), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// A leaf that went from the disk is missed by the next opening, and by a read
// that needs it.
func TestMissesABlockThatIsGone(t *testing.T) {
	st := flatfsStore(t)
	c := offlineContent(st)
	root, _ := shapes()[12].build(t, c.dag)
	f := openFile(t, c, image.Path{Root: root})
	page, _ := c.pages.get(root)
	for _, gone := range []int{3, 0} {
		if err := st.DeleteBlock(t.Context(), page.segments[gone].cid); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Open(t.Context(), image.Path{Root: root}); image.ClassOf(err) != image.Unavailable {
		t.Errorf("the opening gave %v", err)
	}
	if _, err := f.Seek(3<<20+5, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteNTo(io.Discard, 10); n != 0 || image.ClassOf(err) != image.Unavailable {
		t.Errorf("the read gave %d, %v", n, err)
	}
}

// A file of a block that was cut short or has grown is never served.
func TestRefusesADamagedLeaf(t *testing.T) {
	for name, size := range map[string]int64{"cut": 10, "grown": 1<<20 + 1, "huge": maxBlock + 1} {
		t.Run(name, func(t *testing.T) {
			st := flatfsStore(t)
			c := offlineContent(st)
			root, data := shapes()[12].build(t, c.dag)
			openFile(t, c, image.Path{Root: root})
			page, _ := c.pages.get(root)
			path, _ := st.leafPath(page.segments[0].cid)
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Open(t.Context(), image.Path{Root: root}); image.ClassOf(err) != image.Corrupt {
				t.Errorf("the opening gave %v", err)
			}
			single := noise(1 << 20)
			if !bytes.Equal(single, data[:1<<20]) {
				t.Fatal("the first leaf is not that file")
			}
			if _, err := c.Open(t.Context(), image.Path{Root: page.segments[0].cid}); image.ClassOf(err) != image.Corrupt {
				t.Errorf("the opening of the leaf alone gave %v", err)
			}
		})
	}
}

// filled is a content as the contract test wants it.
type filled struct {
	*content
	t *testing.T
}

func (f filled) AddFile(data []byte) cid.Cid {
	c, err := f.content.AddFile(f.t.Context(), bytes.NewReader(data), publish.UnixFSv1)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f filled) AddDir(entries map[string]cid.Cid) cid.Cid {
	c, err := f.content.AddDir(f.t.Context(), entries, publish.UnixFSv1)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func TestKeepsTheContractOfASource(t *testing.T) {
	for name, st := range map[string]*store{"in memory": memoryStore(t), "on disk": flatfsStore(t)} {
		t.Run(name, func(t *testing.T) {
			absent := cid.NewCidV1(cid.Raw, testHash(t, []byte("nobody has this")))
			imagetest.TestSource(t, filled{offlineContent(st), t}, absent)
		})
	}
}

func TestReadsEndWithTheirContext(t *testing.T) {
	c := offlineContent(flatfsStore(t))
	root, _ := shapes()[12].build(t, c.dag)
	ctx, cancel := context.WithCancel(t.Context())
	f, err := c.Open(ctx, image.Path{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cancel()
	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Read gave %v", err)
	}
	if _, err := f.(image.LimitedWriterTo).WriteNTo(io.Discard, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("WriteNTo gave %v", err)
	}
	if _, err := c.Open(ctx, image.Path{Root: root}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open gave %v", err)
	}
}

// An embedded node's blocks are found in the files of its own repository.
func TestNodeWritesFromItsRepository(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	root := filled{n.content, t}.AddFile(noise(3 << 20))
	f := openFile(t, n.content, image.Path{Root: root})
	probe := &sendfileProbe{}
	if _, err := f.WriteNTo(probe, f.Size()); err != nil || !bytes.Equal(probe.Bytes(), noise(3<<20)) {
		t.Fatalf("got %d bytes, %v", probe.Len(), err)
	}
	if probe.fromFile != 3 {
		t.Errorf("%d of 3 leaves were given as files", probe.fromFile)
	}
}
