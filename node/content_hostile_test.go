package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"google.golang.org/protobuf/proto"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// part is a link of a file's node and the size that the node says it has.
type part struct {
	c    cid.Cid
	size uint64
}

// fileNode is a UnixFS file node that says whatever it is told to.
func fileNode(t testing.TB, data []byte, filesize uint64, parts ...part) *merkledag.ProtoNode {
	t.Helper()
	message := &pb.Data{Type: unixfs.TFile.Enum(), Data: data, Filesize: &filesize}
	var links []*ipld.Link
	for _, p := range parts {
		message.Blocksizes = append(message.Blocksizes, p.size)
		links = append(links, &ipld.Link{Cid: p.c, Size: 1})
	}
	encoded, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return pbNode(t, encoded, links...)
}

func TestHostileDAGs(t *testing.T) {
	c := offlineContent(flatfsStore(t))
	leaf := part{add(t, c, merkledag.NewRawNode([]byte("12345"))), 5}
	chain := func(n int) part {
		p := leaf
		for range n {
			p = part{add(t, c, fileNode(t, nil, 5, p)), 5}
		}
		return p
	}
	zero := part{add(t, c, merkledag.NewRawNode(nil)), 0}
	for range 20 { // 100^20 nodes if anybody went there
		many := make([]part, 100)
		for i := range many {
			many[i] = zero
		}
		zero = part{add(t, c, fileNode(t, nil, 0, many...)), 0}
	}
	broken, err := blocks.NewBlockWithCid([]byte{0xff, 0xff}, cid.NewCidV1(cid.DagProtobuf, testHash(t, []byte{0xff, 0xff})))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.dag.Add(t.Context(), rawAs{merkledag.NewRawNode(broken.RawData()), broken.Cid()}); err != nil {
		t.Fatal(err)
	}
	dir := add(t, c, unixfs.EmptyDirNode())
	cbor := cid.NewCidV1(cid.DagCBOR, testHash(t, []byte("x")))
	unsized := fileNode(t, nil, 5, leaf)
	if err := unsized.SetLinks(append(unsized.Links(), unsized.Links()...)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		root cid.Cid
		want string // "" means an error of the class Corrupt, from Open or from a read
	}{
		{"inline data before the children", add(t, c, fileNode(t, []byte("abc"), 8, leaf)), "abc12345"},
		{"no file size", add(t, c, fileNode(t, nil, 0, leaf)), "12345"},
		{"64 levels", add(t, c, fileNode(t, nil, 5, chain(62))), "12345"},
		{"65 levels", add(t, c, fileNode(t, nil, 5, chain(64))), ""},
		{"empty nodes without end", add(t, c, fileNode(t, nil, 5, zero, leaf, zero)), "12345"},
		{"a file size that lies", add(t, c, fileNode(t, nil, 6, leaf)), ""},
		{"a size of a leaf that lies up", add(t, c, fileNode(t, nil, 6, part{leaf.c, 6})), ""},
		{"a size of a leaf that lies down", add(t, c, fileNode(t, nil, 4, part{leaf.c, 4})), ""},
		{"a size of a node that lies", add(t, c, fileNode(t, nil, 6, part{chain(1).c, 6})), ""},
		{"an enormous size", add(t, c, fileNode(t, nil, math.MaxInt64, part{leaf.c, math.MaxInt64})), ""},
		{"sizes that overflow", add(t, c, fileNode(t, nil, 4, part{leaf.c, math.MaxUint64}, leaf)), ""},
		{"sizes that overflow int64", add(t, c, fileNode(t, nil, 1<<63+5, part{leaf.c, 1 << 63}, leaf)), ""},
		{"a link without a size", add(t, c, unsized), ""},
		{"a directory as a part", add(t, c, fileNode(t, nil, 5, part{dir, 5})), ""},
		{"dag-cbor as a part", add(t, c, fileNode(t, nil, 5, part{cbor, 5})), ""},
		{"a broken block", broken.Cid(), ""},
		{"a broken block as a part", add(t, c, fileNode(t, nil, 5, part{broken.Cid(), 5})), ""},
		{"a block of 3 MiB", add(t, c, merkledag.NewRawNode(make([]byte, 3<<20))), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := readAll(t, c, test.root)
			if test.want != "" && (err != nil || string(got) != test.want) {
				t.Errorf("read %q, %v; want %q", got, err, test.want)
			}
			if test.want == "" && image.ClassOf(err) != image.Corrupt {
				t.Errorf("read %d bytes, %v; want an error of the class Corrupt", len(got), err)
			}
		})
	}
}

// rawAs is a raw node under the CID of another codec.
type rawAs struct {
	*merkledag.RawNode
	c cid.Cid
}

func (n rawAs) Cid() cid.Cid { return n.c }

func readAll(t testing.TB, c *content, root cid.Cid) ([]byte, error) {
	f, err := c.Open(t.Context(), image.Path{Root: root})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// repeating is a file of 10^18 bytes in seven blocks.
func repeating(t testing.TB, c *content) cid.Cid {
	p := part{add(t, c, merkledag.NewRawNode([]byte("x"))), 1}
	for range 6 {
		parts := make([]part, 1000)
		for i := range parts {
			parts[i] = p
		}
		p = part{add(t, c, fileNode(t, nil, p.size*1000, parts...)), p.size * 1000}
	}
	return p.c
}

// A node repeated a million times costs the memory of one.
func TestRepeatedNodesAreKeptOnce(t *testing.T) {
	c := offlineContent(memoryStore(t))
	f := openFile(t, c, image.Path{Root: repeating(t, c)})
	for _, off := range []int64{0, 1, 1e6, 1e12, 1e18 - 1} {
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1)
		if n, err := f.Read(got); n != 1 || err != nil || got[0] != 'x' {
			t.Fatalf("at %d read %q, %v", off, got[:n], err)
		}
	}
	if c.pages.segments > 10_000 {
		t.Errorf("%d segments are kept", c.pages.segments)
	}
}

// However large a file says that it is, what is looked at before it is read has
// a bound, and ends with the reader.
func TestChecksAreBounded(t *testing.T) {
	c := offlineContent(flatfsStore(t))
	root := repeating(t, c)
	looked, gone := 0, maxProved/2
	ctx, leave := context.WithCancel(t.Context())
	path := c.disk.path
	c.disk.path = func(c cid.Cid) (string, bool) {
		if looked++; looked == gone {
			leave()
		}
		if looked > 1<<18 { // or this test would not end when it fails
			return "", false
		}
		return path(c)
	}
	f, err := c.Open(ctx, image.Path{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.(*file).Check(128<<20, f.Size()); !errors.Is(err, context.Canceled) || looked > gone+10 {
		t.Errorf("its reader left after %d looks: %d looks, %v", gone, looked, err)
	}
	_ = f.Close()
	looked, gone = 0, -1
	if err := openFile(t, c, image.Path{Root: root}).Check(128<<20, f.Size()); err != nil || looked > 10*maxProved {
		t.Errorf("%d looks, %v", looked, err)
	}
}

// That holds for damage that is known, too.
func TestChecksForDamageAreBounded(t *testing.T) {
	c := offlineContent(flatfsStore(t))
	f := openFile(t, c, image.Path{Root: repeating(t, c)})
	c.disk.condemn(absent("anything"), stamp{}, errors.New("it was met elsewhere"))
	checked := make(chan error, 1)
	go func() { checked <- f.Check(1, f.Size()) }()
	select {
	case err := <-checked:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Errorf("it is still being looked for after %s", patience)
	}
}

func TestPageCacheIsBounded(t *testing.T) {
	cache := newPageCache()
	leaf := identity(t, cid.Raw, []byte("x"))
	for i := range 300 {
		p := &page{}
		for range 1000 {
			if err := p.add(leaf, 1, rawLeaf); err != nil {
				t.Fatal(err)
			}
		}
		cache.add(cid.NewCidV1(cid.Raw, testHash(t, []byte{byte(i), byte(i >> 8)})), p)
	}
	if cache.segments > maxCachedSegments || cache.recent.Len() != maxCachedSegments/1001 {
		t.Errorf("%d segments in %d pages are kept", cache.segments, cache.recent.Len())
	}
}

// FuzzOpen reads from a DAG of which one block is arbitrary bytes. Nothing may
// panic, hang or grow, whatever it says.
func FuzzOpen(f *testing.F) {
	st := memoryStore(f)
	seeds := offlineContent(st)
	leaf := part{add(f, seeds, merkledag.NewRawNode([]byte("12345"))), 5}
	inner := part{add(f, seeds, fileNode(f, nil, 10, leaf, leaf)), 10}
	f.Add(fileNode(f, []byte("abc"), 18, leaf, inner).RawData(), "")
	f.Add(fileNode(f, nil, 1<<40, part{leaf.c, 1 << 40}).RawData(), "x/y")
	f.Add(unixfs.EmptyDirNode().RawData(), "name")
	shard, err := unixfs.HAMTShardData([]byte{0xff, 0xff}, 256, 0x22)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pbNode(f, shard, &ipld.Link{Name: "00", Cid: inner.c}, &ipld.Link{Name: "01name", Cid: leaf.c}).RawData(), "name")
	huge, err := unixfs.HAMTShardData(bytes.Repeat([]byte{0xff}, 100), 1<<62, 0x22)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pbNode(f, huge).RawData(), "name")
	f.Fuzz(func(t *testing.T, data []byte, rest string) {
		c := offlineContent(st)
		mutant := cid.NewCidV1(cid.DagProtobuf, testHash(t, data))
		add(t, c, rawAs{merkledag.NewRawNode(data), mutant})
		above := add(t, c, fileNode(t, nil, 10, part{mutant, 10}))
		for _, p := range []image.Path{{Root: mutant}, {Root: mutant, Rest: rest}, {Root: above}} {
			file, err := c.Open(t.Context(), p)
			if err != nil {
				continue
			}
			n, err := io.Copy(io.Discard, io.LimitReader(file, 1<<20))
			if err == nil && n != min(file.Size(), 1<<20) {
				t.Errorf("%s: read %d bytes of %d without an error", p, n, file.Size())
			}
			file.Close()
		}
	})
}
