package pintest

import (
	"bytes"
	"context"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

// Filled is Blocks to be tested and the way to put content where they can fetch
// it.
type Filled interface {
	pin.Blocks
	imagetest.Adder
}

func none(context.Context) ([]pin.Part, error) { return nil, nil }

// TestBlocks checks that a node keeps the contract of pin.Blocks. pinOther pins
// a DAG recursively as somebody else does, and absent is a CID that nobody has.
func TestBlocks(t *testing.T, b Filled, pinOther func(cid.Cid), absent cid.Cid) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	file, other := b.AddFile(large), b.AddFile([]byte("another file"))
	dir := b.AddDir(map[string]cid.Cid{"a/file": file, "b": other})
	steps, err := b.Steps(t.Context(), image.Path{Root: dir, Rest: "a/file"})
	if err != nil || len(steps) != 3 || steps[0] != dir || steps[2] != file {
		t.Fatalf("the steps to the file are %v, %v", steps, err)
	}
	if _, err := b.Steps(t.Context(), image.Path{Root: dir, Rest: "a/nothing"}); image.ClassOf(err) != image.NotFound {
		t.Errorf("the steps to nothing gave %v; want the class NotFound", err)
	}
	fetch(t, b, dir, absent)
	a := steps[1]
	t.Run("direct pins keep one block", func(t *testing.T) {
		mustPin(t, b, pin.Part{CID: dir, Mode: pin.Direct}, pin.Part{CID: other, Mode: pin.Recursive})
		collect(t, b, true)
		expect(t, b, map[cid.Cid]bool{dir: true, a: true, file: true, other: true})
		collect(t, b, false)
		expect(t, b, map[cid.Cid]bool{dir: true, a: false, file: false, other: true})
	})
	t.Run("what is missing is not pinned", func(t *testing.T) {
		if err := b.Pin(t.Context(), []pin.Part{{CID: dir, Mode: pin.Recursive}}, "all"); err == nil {
			t.Error("a DAG with a gap was pinned")
		}
	})
	t.Run("pins of others stay", func(t *testing.T) { testOthers(t, b, pinOther) })
	t.Run("unpinned is gone", func(t *testing.T) {
		if err := b.Unpin(t.Context(), []cid.Cid{dir, other, absent}); err != nil {
			t.Fatal(err)
		}
		collect(t, b, false)
		expect(t, b, map[cid.Cid]bool{dir: false, other: false})
	})
}

func fetch(t *testing.T, b Filled, dir, absent cid.Cid) {
	t.Helper()
	if err := b.Fetch(t.Context(), dir, pin.Recursive); err != nil {
		t.Fatal(err)
	}
	if whole, err := b.Whole(t.Context(), dir, pin.Recursive); err != nil || !whole {
		t.Fatalf("after Fetch the DAG is whole: %t, %v", whole, err)
	}
	if err := b.Fetch(t.Context(), absent, pin.Recursive); image.ClassOf(err) != image.Unavailable {
		t.Errorf("what nobody has gave %v; want the class Unavailable", err)
	}
	if whole, err := b.Whole(t.Context(), absent, pin.Recursive); err != nil || whole {
		t.Errorf("what nobody has is whole: %t, %v", whole, err)
	}
}

func testOthers(t *testing.T, b Filled, pinOther func(cid.Cid)) {
	theirs := b.AddFile([]byte("pinned by somebody else"))
	if err := b.Fetch(t.Context(), theirs, pin.Recursive); err != nil {
		t.Fatal(err)
	}
	pinOther(theirs)
	mustPin(t, b, pin.Part{CID: theirs, Mode: pin.Recursive})
	for p, err := range b.Pins(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if p.CID == theirs || p.Name != "test" {
			t.Errorf("%v counts as ours", p)
		}
	}
	if err := b.Unpin(t.Context(), []cid.Cid{theirs}); err != nil {
		t.Fatal(err)
	}
	collect(t, b, false)
	expect(t, b, map[cid.Cid]bool{theirs: true})
}

func mustPin(t *testing.T, b Filled, parts ...pin.Part) {
	t.Helper()
	for range 2 { // the second time is harmless
		if err := b.Pin(t.Context(), parts, "test"); err != nil {
			t.Fatal(err)
		}
	}
}

func collect(t *testing.T, b Filled, dry bool) {
	t.Helper()
	freed, err := b.Collect(t.Context(), none, dry)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("freed %+v", freed)
}

// expect says which blocks are here.
func expect(t *testing.T, b Filled, want map[cid.Cid]bool) {
	t.Helper()
	for c, here := range want {
		if got, err := b.Whole(t.Context(), c, pin.Direct); err != nil || got != here {
			t.Errorf("%s is here: %t, %v; want %t", c, got, err, here)
		}
	}
}
