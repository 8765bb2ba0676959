package node

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	pinner "github.com/ipfs/boxo/pinning/pinner"
	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/pin"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// here says which blocks a node has.
func here(t *testing.T, n *Node, want map[string]cid.Cid, names ...string) {
	t.Helper()
	for name, c := range want {
		got, err := n.Whole(t.Context(), c, pin.Recursive)
		if err != nil {
			t.Fatal(err)
		}
		wanted := false
		for _, other := range names {
			wanted = wanted || other == name
		}
		if got != wanted {
			t.Errorf("%s is here: %t; want %t", name, got, wanted)
		}
	}
}

// addLetters puts 3 MiB of a letter into a node.
func addLetters(t *testing.T, n *Node, letter string) cid.Cid {
	t.Helper()
	c, err := n.AddFile(t.Context(), strings.NewReader(strings.Repeat(letter, 3<<20)+letter), publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What is written, read or opened while a collection runs stays, and so do what
// was added under Hold and what the collection is told of, with gaps or not.
func TestCollectSparesWhatIsTouched(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	files := map[string]cid.Cid{}
	for _, name := range []string{"idle", "opened", "open", "told", "read", "again"} {
		files[name] = addLetters(t, n, name)
	}
	release, err := n.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	files["held"] = addLetters(t, n, "held")
	open := func(name string) image.File {
		f, err := n.Open(t.Context(), image.Path{Root: files[name]})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	before := open("open")
	defer before.Close()
	var during image.File
	_, err = n.Collect(t.Context(), func(ctx context.Context) ([]pin.Part, error) {
		files["written"] = addLetters(t, n, "written")
		files["again"] = addLetters(t, n, "again")
		during = open("opened")
		if whole, err := n.Whole(ctx, files["read"], pin.Recursive); err != nil || !whole {
			t.Errorf("whole: %t, %v", whole, err)
		}
		return []pin.Part{{CID: files["told"], Mode: pin.Recursive}, {CID: absent("a gap"), Mode: pin.Recursive}}, nil
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	here(t, n, files, "opened", "open", "told", "read", "again", "held", "written")
	if _, err := io.Copy(io.Discard, during); err != nil {
		t.Errorf("read what was opened meanwhile: %v", err)
	}
	during.Close()
	if err := n.Pin(t.Context(), []pin.Part{{CID: files["held"], Mode: pin.Recursive}}, "held"); err != nil {
		t.Fatal(err)
	}
	release()
	before.Close()
	if _, err := n.Collect(t.Context(), nothing, false); err != nil {
		t.Fatal(err)
	}
	here(t, n, files, "held")
}

func nothing(context.Context) ([]pin.Part, error) { return nil, nil }

// While a block of a pinned DAG is missing, nobody knows what is needed.
func TestCollectRefusesBrokenPins(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	files := map[string]cid.Cid{"pinned": addLetters(t, n, "pinned"), "idle": addLetters(t, n, "idle")}
	bs := kuboOf(t, n).node.Blockstore
	root, err := bs.Get(t.Context(), files["pinned"])
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Pin(t.Context(), []pin.Part{{CID: files["pinned"], Mode: pin.Recursive}}, "pinned"); err != nil {
		t.Fatal(err)
	}
	if err := bs.DeleteBlock(t.Context(), files["pinned"]); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Collect(t.Context(), nothing, false); err == nil || !strings.Contains(err.Error(), files["pinned"].String()) {
		t.Errorf("it gave %v; want an error about %s", err, files["pinned"])
	}
	here(t, n, files, "idle")
	if err := bs.Put(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Collect(t.Context(), nothing, false); err != nil {
		t.Error(err)
	}
	here(t, n, files, "pinned")
}

// A block that is pinned as bytes alone, and whose bytes are a node of a DAG
// that is pinned as well, keeps the DAG.
func TestCollectTellsANodeFromItsBytes(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	file := addLetters(t, n, "node")
	asBytes := cid.NewCidV1(cid.Raw, file.Hash())
	for _, c := range []cid.Cid{asBytes, file} {
		if err := kuboOf(t, n).node.Pinning.PinWithMode(t.Context(), c, pinner.Recursive, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Collect(t.Context(), nothing, false); err != nil {
		t.Fatal(err)
	}
	here(t, n, map[string]cid.Cid{"file": file}, "file")
}

// Reads go on while blocks are removed, however many.
func TestReadsDuringCollection(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	c, err := n.AddFile(t.Context(), bytes.NewReader(want), publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		if _, err := n.AddFile(t.Context(), strings.NewReader(strings.Repeat("x", i)), publish.UnixFSv1); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Pin(t.Context(), []pin.Part{{CID: c, Mode: pin.Recursive}}, "read"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		freed, err := n.Collect(t.Context(), nothing, false)
		if err == nil && freed.Blocks < 390 {
			t.Errorf("freed %+v", freed)
		}
		done <- err
	}()
	for reads := 0; ; reads++ {
		f, err := n.Open(t.Context(), image.Path{Root: c})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if f.Close(); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d reads meanwhile", reads)
			return
		default:
		}
	}
}

// A damaged block that nothing needs goes as any other does, and is counted.
func TestCollectRemovesDamagedBlocks(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	root := addLetters(t, n, "d")
	var broken cid.Cid
	t.Run("damage", func(t *testing.T) { // no file stays open
		broken = blockOf(t, n.content, root, "first")
		rot(t, n.content.disk, broken)
	})
	if _, err := n.Open(t.Context(), image.Path{Root: root}); image.ClassOf(err) != image.Corrupt {
		t.Fatalf("the damage is %v; want it found", err)
	}
	none := func(context.Context) ([]pin.Part, error) { return nil, nil }
	for _, dry := range []bool{true, false} {
		if freed, err := n.Collect(t.Context(), none, dry); err != nil || freed.Blocks < 3 || freed.Bytes <= 1<<20 {
			t.Errorf("dry %t: freed %+v, %v; want the damaged block among them", dry, freed, err)
		}
	}
	if n.content.disk.has(broken) || n.content.disk.isDamaged(broken) {
		t.Error("the damaged block is there still")
	}
}
