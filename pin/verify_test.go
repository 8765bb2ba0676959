package pin_test

import (
	"testing"
	"time"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

// What has gone from the disk is found and brought again, and if nobody has it
// the verification says so; what images share is read once; and the ledger
// remembers.
func TestVerify(t *testing.T) {
	h := newHost(pin.Options{})
	one, _ := h.layout("shared", "one")
	two, desc := h.layout("shared", "two")
	h.add(t, pin.Request{Path: image.Path{Root: one}})
	kept := h.add(t, pin.Request{Path: image.Path{Root: two}})
	parts, err := h.Ledger().Parts(t.Context(), kept.Path())
	if err != nil {
		t.Fatal(err)
	}
	var lost pin.Part
	for _, p := range parts {
		if p.Digest != "" {
			lost = p
		}
	}
	verify := func(r pin.VerifyRequest) []pin.Verified {
		t.Helper()
		told := 0
		all, err := h.Verify(t.Context(), r, func(pin.Verified) { told++ })
		if err != nil || told != len(all) {
			t.Fatalf("%d images, told of %d, %v", len(all), told, err)
		}
		return all
	}

	all := verify(pin.VerifyRequest{})
	if len(all) != 2 || !all[0].Sound() || !all[1].Sound() || all[0].Blocks <= all[1].Blocks || pin.Unsound(all) != nil {
		t.Errorf("%+v", all)
	}
	h.node.Lose(lost.CID)
	all = verify(pin.VerifyRequest{})
	if v := all[1]; !v.Sound() || v.Damaged != 1 || v.Repaired != 1 {
		t.Errorf("with a network: %+v", v)
	}
	h.node.Lose(lost.CID)
	h.node.Offline = true
	path := image.Path{Root: two}
	all = verify(pin.VerifyRequest{Path: &path})
	if v := all[0]; v.Sound() || v.Damaged != 1 || v.Repaired != 0 || image.ClassOf(pin.Unsound(all)) != image.Corrupt {
		t.Errorf("offline: %+v", v)
	}
	list := h.list(t)
	if c := list[1].Checked; c == nil || c.Problem == "" || time.Since(c.When) > time.Hour {
		t.Errorf("the ledger says %+v of %s", c, desc.Digest)
	}
	if c := list[0].Checked; c == nil || c.Problem != "" {
		t.Errorf("the ledger says %+v of the other", c)
	}
}

// An image that is not kept can be verified all the same, and is not kept then.
func TestVerifyWhatIsNotKept(t *testing.T) {
	h := newHost(pin.Options{})
	root, _ := h.layout("a layer")
	path := image.Path{Root: root}
	all, err := h.Verify(t.Context(), pin.VerifyRequest{Path: &path}, nil)
	if err != nil || len(all) != 1 || !all[0].Sound() || all[0].Repaired == 0 {
		t.Errorf("%+v, %v", all, err)
	}
	if n := len(h.list(t)); n != 0 {
		t.Errorf("%d images are kept", n)
	}
}

// The background verifies each image when it is due, and no sooner.
func TestScrub(t *testing.T) {
	h := newHost(pin.Options{ScrubInterval: 50 * time.Millisecond, ScrubRate: 1 << 30})
	root, _ := h.layout("a layer")
	h.add(t, pin.Request{Path: image.Path{Root: root}})
	var first time.Time
	h.runUntil(t, func() bool {
		c := h.list(t)[0].Checked
		if c != nil && first.IsZero() {
			first = c.When
		}
		return c != nil && c.When.After(first)
	})
}
