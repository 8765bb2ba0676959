package pin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/pin"
	"github.com/ipfs-registry/ipfs-registry/pin/pintest"
)

func decode(t *testing.T, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

func TestNodeInMemory(t *testing.T) {
	n := pintest.NewNode()
	pintest.TestBlocks(t, n, func(c cid.Cid) { n.PinOther(c, pin.Recursive) }, pintest.NewNode().AddFile([]byte("nobody has this")))
}

func TestStoreInMemory(t *testing.T) { pintest.TestStore(t, pintest.NewStore()) }

// Whatever form an image has, all of it is here when it is kept, survives a
// collection, and goes with the image.
func TestKeepsEveryForm(t *testing.T) {
	forms := imagetest.Forms(pintest.NewNode(), []byte("one"), []byte("two"))
	for n := range forms {
		t.Run(forms[n].Title, func(t *testing.T) {
			h := newHost(pin.Options{})
			form := imagetest.Forms(h.node, []byte("one"), []byte("two"))[n]
			i := h.add(t, pin.Request{Path: form.Path, Name: "image"})
			if i.State != pin.Kept || i.Size == 0 || len(i.Has) == 0 || len(i.Missing) > 0 {
				t.Errorf("kept as %+v", i)
			}
			h.collect(t)
			if err := h.readable(t, form.Path, form.Tag); err != nil {
				t.Errorf("after a collection: %v", err)
			}
			if err := h.Remove(t.Context(), form.Path); err != nil {
				t.Fatal(err)
			}
			h.collect(t)
			if left := h.node.Has(); len(left) > 0 || len(h.list(t)) > 0 {
				t.Errorf("left after the removal: %v", left)
			}
		})
	}
}

// Of an image with several platforms, the one that was chosen is kept, with what
// is attached to it, and not the other; and then the other too.
func TestKeepsPlatforms(t *testing.T) {
	for name, put := range map[string]func(*host, imagetest.Blobs, ocispec.Descriptor, ...ocispec.Descriptor) cid.Cid{
		"layout": func(h *host, b imagetest.Blobs, index ocispec.Descriptor, more ...ocispec.Descriptor) cid.Cid {
			return b.Layout(h.node, nil, append(more, imagetest.Tagged(index, "v1"))...)
		},
		"nerdctl": func(h *host, b imagetest.Blobs, index ocispec.Descriptor, _ ...ocispec.Descriptor) cid.Cid {
			root, _ := b.Nerdctl(h.node, index)
			return root
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(pin.Options{})
			root, _, _, signature := h.multi(func(b imagetest.Blobs, index ocispec.Descriptor, more ...ocispec.Descriptor) cid.Cid {
				return put(h, b, index, more...)
			})
			p := image.Path{Root: root}
			i := h.add(t, pin.Request{Path: p, Platforms: []string{"linux/arm64"}})
			if i.Whole || i.Platforms[0] != "linux/arm64" {
				t.Errorf("kept as %+v", i)
			}
			h.collect(t)
			c, err := h.images.Manifest(t.Context(), p, "latest")
			if err != nil {
				t.Fatal(err)
			}
			var index ocispec.Index
			if err := json.NewDecoder(c).Decode(&index); err != nil {
				t.Fatal(err)
			}
			arm, amd := index.Manifests[1].Digest.String(), index.Manifests[0].Digest.String()
			if err := h.readable(t, p, arm); err != nil {
				t.Errorf("the platform chosen: %v", err)
			}
			if err := h.readable(t, p, amd); image.ClassOf(err) != image.Unavailable {
				t.Errorf("the other platform gave %v; want that it is not here", err)
			}
			if name == "layout" {
				if err := h.readable(t, p, signature.Digest.String()); err != nil {
					t.Errorf("the signature: %v", err)
				}
			}
			h.add(t, pin.Request{Path: p, Platforms: []string{"linux/amd64"}})
			h.collect(t)
			if err := errors.Join(h.readable(t, p, arm), h.readable(t, p, amd)); err != nil {
				t.Errorf("both platforms: %v", err)
			}
			if err := h.Remove(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if h.collect(t); len(h.node.Has()) > 0 {
				t.Errorf("left after the removal: %v", h.node.Has())
			}
		})
	}
}

// A layer of two images goes with the last of them, and what somebody else has
// pinned stays.
func TestSharedLayers(t *testing.T) {
	h := newHost(pin.Options{})
	b := imagetest.Blobs{}
	one, _ := b.Nerdctl(h.node, b.Image("amd64", []byte("shared"), []byte("first")))
	two, _ := b.Nerdctl(h.node, b.Image("amd64", []byte("shared"), []byte("second")))
	theirs := h.node.AddFile([]byte("first"))
	h.node.PinOther(theirs, pin.Recursive)
	for _, root := range []cid.Cid{one, two} {
		h.add(t, pin.Request{Path: image.Path{Root: root}})
	}
	if size, err := h.Ledger().Size(t.Context()); err != nil || size >= h.list(t)[0].Size+h.list(t)[1].Size {
		t.Errorf("together they have %d bytes, %v; what they share counts once", size, err)
	}
	if err := h.Remove(t.Context(), image.Path{Root: one}); err != nil {
		t.Fatal(err)
	}
	h.collect(t)
	if err := h.readable(t, image.Path{Root: two}, "latest"); err != nil {
		t.Errorf("the other image: %v", err)
	}
	if err := h.Remove(t.Context(), image.Path{Root: two}); err != nil {
		t.Fatal(err)
	}
	if h.collect(t); !slices.Equal(h.node.Has(), []cid.Cid{theirs}) {
		t.Errorf("left: %v; want what somebody else pinned", h.node.Has())
	}
	if err := h.Remove(t.Context(), image.Path{Root: two}); image.ClassOf(err) != image.NotFound {
		t.Errorf("removing it twice gave %v; want the class NotFound", err)
	}
}

// An image that cannot be had whole is listed with what is missing, keeps what
// has come through a collection, and goes on by itself when it can.
func TestIncomplete(t *testing.T) {
	h := newHost(pin.Options{})
	root, _ := h.layout("here", "not yet here")
	missing := digest.FromString("not yet here")
	lost := h.node.AddFile([]byte("not yet here"))
	h.node.Network.Remove(lost)
	p := image.Path{Root: root}
	if _, err := h.Add(t.Context(), pin.Request{Path: p, Name: "later"}, nil); image.ClassOf(err) != image.Unavailable {
		t.Fatalf("adding it gave %v; want the class Unavailable", err)
	}
	i := h.list(t)[0]
	if i.State != pin.Incomplete || i.Problem == "" || !slices.ContainsFunc(i.Missing, func(b pin.Blob) bool { return b.Digest == missing }) {
		t.Errorf("listed as %+v", i)
	}
	had := len(h.node.Has())
	if h.collect(t); len(h.node.Has()) != had {
		t.Errorf("a collection left %d of %d blocks", len(h.node.Has()), had)
	}
	h.node.AddFile([]byte("not yet here"))
	h.restart(pin.Options{})
	h.runUntil(t, func() bool { return h.list(t)[0].State == pin.Kept })
	if i := h.list(t)[0]; i.Name != "later" || !i.Explicit || len(i.Missing) > 0 || i.Problem != "" {
		t.Errorf("kept as %+v", i)
	}
}

// runUntil runs the keeper until a condition holds.
func (h *host) runUntil(t *testing.T, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Run(ctx)
	}()
	for tick := time.NewTicker(time.Millisecond); !holds(); <-tick.C {
		if ctx.Err() != nil {
			t.Fatal("it never came")
		}
	}
	cancel()
	<-done
}

// What can never be kept is not listed.
func TestHopeless(t *testing.T) {
	h := newHost(pin.Options{MaxImageSize: 100})
	large, _ := h.layout("a layer that makes the image larger than a hundred bytes")
	for name, c := range map[string]struct {
		path  image.Path
		class image.Class
	}{
		"no image":  {image.Path{Root: h.node.AddFile([]byte("nothing"))}, image.NotImage},
		"too large": {image.Path{Root: large}, image.Denied},
	} {
		if _, err := h.Add(t.Context(), pin.Request{Path: c.path}, nil); image.ClassOf(err) != c.class {
			t.Errorf("%s gave %v; want the class %s", name, err, c.class)
		}
	}
	if all := h.list(t); len(all) > 0 {
		t.Errorf("listed: %+v", all)
	}
}

// Those pulled least recently make room, and those asked for by name never.
func TestQuotaAndRetention(t *testing.T) {
	for name, o := range map[string]pin.Options{"quota": {Quota: 1}, "retain": {Retain: time.Nanosecond}} {
		t.Run(name, func(t *testing.T) {
			h := newHost(o)
			var roots []cid.Cid
			for n := range 3 {
				root, _ := h.layout(fmt.Sprint("layer ", n))
				h.add(t, pin.Request{Path: image.Path{Root: root}, Pulled: n != 1})
				roots = append(roots, root)
			}
			h.runUntil(t, func() bool { return len(h.list(t)) == 1 })
			if left := h.list(t)[0]; left.Root != roots[1] {
				t.Errorf("left: %+v; want the one asked for by name", left)
			}
		})
	}
}

// A full disk is made room on: first what nothing needs, then what was pulled.
func TestWatermark(t *testing.T) {
	h := newHost(pin.Options{Watermark: 50})
	byName, _ := h.layout("by name")
	h.add(t, pin.Request{Path: image.Path{Root: byName}})
	pulled, _ := h.layout("pulled")
	h.add(t, pin.Request{Path: image.Path{Root: pulled}, Pulled: true})
	u, err := h.node.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.node.Disk = pin.Usage{Total: 2*u.Blocks - 2}
	h.runUntil(t, func() bool { return len(h.list(t)) == 1 })
	if h.list(t)[0].Root != byName {
		t.Errorf("left: %+v", h.list(t)[0])
	}
	if err := h.readable(t, image.Path{Root: byName}, "v1"); err != nil {
		t.Error(err)
	}
}

// errCut is the end of the power.
var errCut = errors.New("cut off")

// Cut off before any one of the steps that change something, and started again,
// a host has the images that were acknowledged, each of them whole, and no pin
// that belongs to none.
func TestCutOffAtEachStep(t *testing.T) {
	for cut := 0; ; cut++ {
		h := newHost(pin.Options{})
		steps := 0
		step := func() error {
			if steps++; steps > cut {
				return errCut
			}
			return nil
		}
		h.store.Step, h.node.Step = step, step
		acknowledged := story(t, h)
		h.store.Step, h.node.Step = nil, nil
		h.restart(pin.Options{})
		// It is kept anyway, if that was all that was left to be done.
		want := acknowledged.images()
		h.runUntil(t, func() bool { return h.settled(t) })
		h.collect(t)
		for _, root := range want {
			if err := h.readable(t, image.Path{Root: root}, "latest"); err != nil {
				t.Errorf("cut off before step %d: an acknowledged image: %v", cut, err)
			}
		}
		for _, root := range acknowledged.removed() {
			if slices.ContainsFunc(h.list(t), func(i *pin.Image) bool { return i.Root == root }) {
				t.Errorf("cut off before step %d: an image whose removal was acknowledged is there", cut)
			}
		}
		for _, i := range h.list(t) {
			if err := h.Remove(t.Context(), i.Path()); err != nil {
				t.Fatal(err)
			}
		}
		if h.collect(t); len(h.node.Has()) > 0 {
			t.Errorf("cut off before step %d: blocks of nothing stay: %v", cut, h.node.Has())
		}
		if steps <= cut {
			t.Logf("cut off at each of %d steps", cut)
			return
		}
	}
}

// settled reports whether nothing is incomplete and every pin has its image.
func (h *host) settled(t *testing.T) bool {
	for p := range h.node.Pins(t.Context()) {
		if _, needed, err := h.Ledger().Needed(t.Context(), p.CID); err != nil || !needed {
			return false
		}
	}
	return !slices.ContainsFunc(h.list(t), func(i *pin.Image) bool { return i.State != pin.Kept })
}

// acknowledgements are the images by what was acknowledged of them last.
type acknowledgements map[cid.Cid]bool

func (a acknowledgements) images() []cid.Cid  { return a.which(true) }
func (a acknowledgements) removed() []cid.Cid { return a.which(false) }

func (a acknowledgements) which(kept bool) (roots []cid.Cid) {
	for root, is := range a {
		if is == kept {
			roots = append(roots, root)
		}
	}
	return roots
}

// story adds and removes images that share a layer until it is cut off.
func story(t *testing.T, h *host) acknowledgements {
	t.Helper()
	b := imagetest.Blobs{}
	one, _ := b.Nerdctl(h.node, b.Image("amd64", []byte("shared"), []byte("first")))
	two, _ := b.Nerdctl(h.node, b.Image("amd64", []byte("shared"), []byte("second")))
	three, _ := h.layout("shared", "third")
	done := acknowledgements{}
	for _, do := range []struct {
		root cid.Cid
		kept bool
	}{{one, true}, {two, true}, {one, false}, {three, true}, {two, false}} {
		var err error
		if do.kept {
			_, err = h.Add(t.Context(), pin.Request{Path: image.Path{Root: do.root}}, nil)
		} else {
			err = h.Remove(t.Context(), image.Path{Root: do.root})
		}
		if err != nil && !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		if err != nil {
			delete(done, do.root) // under way: either is right
			return done
		}
		done[do.root] = do.kept
	}
	return done
}

// What is kept is told to whoever answers for it as a mirror.
func TestKeptIsTold(t *testing.T) {
	h := newHost(pin.Options{})
	blobs := imagetest.Blobs{}
	desc := blobs.Image("amd64", []byte("layer"))
	p := image.Path{Root: blobs.Layout(h.node, nil, desc)}
	kept := image.NewKept(image.Keepers{h.Ledger()}, h.images, nil)
	find := func(want bool) {
		t.Helper()
		if got, err := kept.Find(t.Context(), desc.Digest); (err == nil && got == p) != want {
			t.Errorf("found %v, %v; want it found: %t", got, err, want)
		}
	}
	find(false)
	h.add(t, pin.Request{Path: p})
	find(true)
	if err := h.Remove(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	find(false)
}
