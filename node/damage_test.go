package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// rot changes one byte in the middle of the file of a block.
func rot(t testing.TB, d *disk, c cid.Cid) {
	t.Helper()
	name, ok := d.path(c)
	if !ok {
		t.Fatalf("%s has no file", c)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], info.Size()/2); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], info.Size()/2); err != nil {
		t.Fatal(err)
	}
}

// copyOf is a second store with the same blocks.
func copyOf(t testing.TB, st *store) *store {
	t.Helper()
	to := memoryStore(t)
	cids, err := st.AllKeysChan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for c := range cids {
		b, err := st.Blockstore.Get(t.Context(), c)
		if err == nil {
			err = to.Put(t.Context(), b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// readings are the ways to read a file from its beginning.
func readings() map[string]func(io.Writer, *file) error {
	return map[string]func(io.Writer, *file) error{
		"as it is": func(w io.Writer, f *file) error { _, err := io.Copy(w, readerOnly{f}); return err },
		"by sendfile": func(w io.Writer, f *file) error {
			_, err := f.WriteNTo(w, f.Size())
			return err
		},
		"by ranges": func(w io.Writer, f *file) error {
			for pos := int64(0); pos < f.Size(); pos += 16 << 10 {
				if _, err := f.Seek(pos, io.SeekStart); err != nil {
					return err
				}
				if _, err := f.WriteNTo(w, min(16<<10, f.Size()-pos)); err != nil {
					return err
				}
			}
			return nil
		},
		"after a check": func(w io.Writer, f *file) error {
			if err := f.Check(f.Size(), f.Size()); err != nil {
				return err
			}
			_, err := f.WriteNTo(w, f.Size())
			return err
		},
	}
}

type readerOnly struct{ io.Reader }

// Whatever block of a file is damaged, at whatever time, not one wrong byte of
// it is read. With a peer that has the block it is mended, without one the error
// is Corrupt, names the block and stays the same.
func TestDamagedBlocksAreNotRead(t *testing.T) {
	file := shape{size: 5<<20 + 7, chunk: 1 << 20, links: 3, raw: true}
	for _, damage := range []string{"root", "inner", "first", "middle", "last"} {
		for _, when := range []string{"before it was read", "after it was read"} {
			for way, read := range readings() {
				t.Run(fmt.Sprintf("%s %s %s", damage, when, way), func(t *testing.T) {
					st := flatfsStore(t)
					origin := offlineContent(st)
					root, data := file.build(t, origin.dag)
					broken := blockOf(t, origin, root, damage)
					peer := newPeer(copyOf(t, st))
					alone, connected := offlineContent(st), contentOn(st, peer, time.Minute)
					if when == "after it was read" {
						for _, c := range []*content{alone, connected} {
							if err := read(io.Discard, openFile(t, c, image.Path{Root: root})); err != nil {
								t.Fatal(err)
							}
							c.pages = newPageCache() // as after many other files
						}
					}
					rot(t, alone.disk, broken)
					for range 2 {
						expectDamage(t, alone, root, data, broken, read)
					}
					var got bytes.Buffer
					if err := read(&got, openFile(t, connected, image.Path{Root: root})); err != nil || !bytes.Equal(got.Bytes(), data) {
						t.Fatalf("with a peer: %d bytes, %v", got.Len(), err)
					}
					if peer.asked() == 0 {
						t.Error("the peer was not asked")
					}
					got.Reset()
					if err := read(&got, openFile(t, alone, image.Path{Root: root})); err != nil || !bytes.Equal(got.Bytes(), data) {
						t.Errorf("alone, mended: %d bytes, %v", got.Len(), err)
					}
				})
			}
		}
	}
}

func expectDamage(t *testing.T, c *content, root cid.Cid, data []byte, broken cid.Cid, read func(io.Writer, *file) error) {
	t.Helper()
	var got bytes.Buffer
	f, err := c.Open(t.Context(), image.Path{Root: root})
	if err == nil {
		err = read(&got, f.(*file))
		f.Close()
	}
	if image.ClassOf(err) != image.Corrupt || !strings.Contains(err.Error(), broken.String()) {
		t.Errorf("alone: %v; want Corrupt and %s", err, broken)
	}
	if !bytes.HasPrefix(data, got.Bytes()) {
		t.Errorf("%d bytes were read and they are wrong", got.Len())
	}
}

// Damage that is known is told before the first byte, however far off it is; what
// is not known is looked for as far as is said. With a peer it is mended.
func TestKnownDamageIsTold(t *testing.T) {
	st := flatfsStore(t)
	alone := offlineContent(st)
	root, data := shape{size: 5<<20 + 7, chunk: 1 << 20, links: 3, raw: true}.build(t, alone.dag)
	peer := newPeer(copyOf(t, st))
	check := func(c *content, pos, first, n int64) error {
		f := openFile(t, c, image.Path{Root: root})
		defer f.Close()
		if _, err := f.Seek(pos, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		return f.Check(first, n)
	}
	size := int64(len(data))
	broken := blockOf(t, alone, root, "last")
	rot(t, alone.disk, broken)
	if err := check(alone, 0, 1<<20, size); err != nil {
		t.Errorf("damage that nobody met: %v", err)
	}
	if err := check(alone, size-1, 1, 1); image.ClassOf(err) != image.Corrupt {
		t.Errorf("what is asked for first is damaged: %v", err)
	}
	for _, pos := range []int64{0, 3 << 20} {
		if err := check(alone, pos, 1, size-pos); image.ClassOf(err) != image.Corrupt {
			t.Errorf("known damage, from %d on: %v", pos, err)
		}
	}
	if err := check(alone, 0, 1, 4<<20); err != nil {
		t.Errorf("known damage behind what is asked for: %v", err)
	}
	connected := contentOn(st, peer, time.Minute)
	info, err := connected.disk.stat(broken)
	if err != nil {
		t.Fatal(err)
	}
	connected.disk.condemn(broken, stampOf(info), errors.New("it was met before"))
	if err := check(connected, 0, 1, size); err != nil {
		t.Errorf("with a peer: %v", err)
	}
	if err := check(alone, 0, size, size); err != nil {
		t.Errorf("mended: %v", err)
	}
}

// blockOf finds a block of a file of several levels.
func blockOf(t testing.TB, c *content, root cid.Cid, which string) cid.Cid {
	t.Helper()
	f := openFile(t, c, image.Path{Root: root})
	at := map[string]int64{"first": 0, "middle": 2 << 20, "last": f.Size() - 1}
	switch pos, leaf := at[which]; {
	case leaf:
		l, err := f.locate(pos)
		if err != nil {
			t.Fatal(err)
		}
		return l.cid
	case which == "inner":
		return f.root.segments[0].cid
	}
	return root
}

// What is damaged is hidden from Kubo, and from peers so, until it is written
// again.
func TestKuboSeesNoDamagedBlock(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	_, leaves := addTree(t, n, "a block", "another block")
	bs, c := kuboOf(t, n).node.Blockstore, leaves[0]
	good, err := bs.Get(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	rot(t, n.disk, c)
	if b, err := bs.Get(t.Context(), c); !ipld.IsNotFound(err) {
		t.Fatalf("got %v, %v", b, err)
	}
	if has, err := bs.Has(t.Context(), c); has || err != nil {
		t.Errorf("the node has it: %v, %v", has, err)
	}
	if size, err := bs.GetSize(t.Context(), c); !ipld.IsNotFound(err) {
		t.Errorf("its size is %d, %v", size, err)
	}
	name, _ := n.disk.path(c)
	if _, err := os.Stat(name); err != nil {
		t.Errorf("the only copy is gone: %v", err)
	}
	if err := bs.Put(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if b, err := bs.Get(t.Context(), c); err != nil || string(b.RawData()) != "a block" {
		t.Errorf("after it was put again: %v, %v", b, err)
	}
	if n.disk.found.Load() != 1 {
		t.Errorf("%d damaged blocks were counted", n.disk.found.Load())
	}
}

// What has been proven is not hashed again, and what is remembered has a bound.
func TestProofs(t *testing.T) {
	p := newProofs()
	c := cid.NewCidV1(cid.Raw, testHash(t, []byte("a block")))
	one := stamp{inode: 1, size: 2, modified: 3, changed: 4}
	p.add(c, one)
	for i, other := range []stamp{{2, 2, 3, 4}, {1, 3, 3, 4}, {1, 2, 4, 4}, {1, 2, 3, 5}} {
		if p.has(c, other) {
			t.Errorf("file %d passes for the one that was proven", i)
		}
	}
	for i := range maxProofs {
		p.add(c, stamp{inode: uint64(i), size: 9})
		if i%1000 == 0 && !p.has(c, one) {
			t.Fatalf("what is in use was forgotten after %d", i)
		}
	}
	if n := len(p.recent) + len(p.former); n > maxProofs {
		t.Errorf("%d are remembered", n)
	}
	for i := range maxProofs {
		p.add(c, stamp{inode: uint64(i), size: 10})
	}
	if p.has(c, one) {
		t.Error("what is not in use is remembered for ever")
	}
}
