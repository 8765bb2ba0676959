package pin_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

// endless never comes to the end of some images, as if whoever sends it sent a block
// now and then.
type endless struct {
	*image.Resolver
	roots []cid.Cid
}

func (e endless) Closure(ctx context.Context, p image.Path, s image.Selection) (*image.Closure, error) {
	if slices.Contains(e.roots, p.Root) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return e.Resolver.Closure(ctx, p, s)
}

// incomplete adds an image of which a layer is missing.
func (h *host) incomplete(t *testing.T, r pin.Request, layer string) {
	t.Helper()
	lost := h.node.AddFile([]byte(layer))
	h.node.Network.Remove(lost)
	if _, err := h.Add(t.Context(), r, nil); image.ClassOf(err) != image.Unavailable {
		t.Fatalf("adding it gave %v; want the class Unavailable", err)
	}
}

// An image that never comes to its end keeps neither the next one waiting nor what
// makes room.
func TestAnEndlessImageKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(pin.Options{})
		never, _ := h.layout("never")
		h.incomplete(t, pin.Request{Path: image.Path{Root: never}, Name: "never"}, "never")
		next, _ := h.layout("next")
		h.incomplete(t, pin.Request{Path: image.Path{Root: next}, Name: "next"}, "next")
		h.node.AddFile([]byte("next"))
		old, _ := h.layout("old")
		h.add(t, pin.Request{Path: image.Path{Root: old}, Name: "old", Pulled: true})
		h.Keeper = pin.New(endless{h.images, []cid.Cid{never}}, h.node, h.store, pin.Options{Retain: time.Minute})
		ctx, stop := context.WithCancel(t.Context())
		go h.Run(ctx)
		defer stop()
		named := func(name string) *pin.Image {
			all := h.list(t)
			if i := slices.IndexFunc(all, func(i *pin.Image) bool { return i.Name == name }); i >= 0 {
				return all[i]
			}
			return nil
		}
		<-time.After(2 * time.Minute) // by the clock of the bubble, which nobody waits for
		if named("old") != nil {
			t.Error("what had its time is still kept")
		}
		if i := named("next"); i.State != pin.Kept {
			t.Errorf("the next one is %s: %s", i.State, i.Problem)
		}
		if i := named("never"); i.State != pin.Incomplete {
			t.Errorf("the endless one is %s", i.State)
		}
		if err := h.Remove(t.Context(), image.Path{Root: never}); err != nil {
			t.Error(err)
		}
	})
}

// An image that somebody asks for by name is not let go of meanwhile, though it had
// only been pulled so far.
func TestWhatIsAskedForByNameIsNotLetGoOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(pin.Options{})
		old, _ := h.layout("old")
		h.add(t, pin.Request{Path: image.Path{Root: old}, Pulled: true})
		wanted, _ := h.layout("wanted")
		h.add(t, pin.Request{Path: image.Path{Root: wanted}, Pulled: true})
		h.Keeper = pin.New(endless{h.images, []cid.Cid{wanted}}, h.node, h.store, pin.Options{Retain: time.Minute})
		ctx, stop := context.WithCancel(t.Context())
		added := make(chan error, 1)
		go func() {
			_, err := h.Add(ctx, pin.Request{Path: image.Path{Root: wanted}}, nil)
			added <- err
		}()
		synctest.Wait()
		go h.Run(ctx)
		<-time.After(2 * time.Minute) // by the clock of the bubble, which nobody waits for
		if all := h.list(t); len(all) != 1 || all[0].Root != wanted {
			t.Errorf("%d images are kept: %+v", len(all), all)
		}
		select {
		case err := <-added:
			t.Errorf("the addition ended: %v", err)
		default:
		}
		stop()
		<-added
	})
}

// An image that was just pulled is not let go of, though what notes that has to wait
// for images that never come to their end.
func TestWhatWasJustPulledIsNotLetGoOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(pin.Options{})
		var never []cid.Cid
		for n := range 4 {
			name := fmt.Sprint("never ", n)
			root, _ := h.layout(name)
			h.incomplete(t, pin.Request{Path: image.Path{Root: root}}, name)
			never = append(never, root)
		}
		root, img := h.layout("pulled")
		p := image.Path{Root: root}
		h.add(t, pin.Request{Path: p, Pulled: true})
		h.Keeper = pin.New(endless{h.images, never}, h.node, h.store, pin.Options{Retain: time.Hour})
		guard := h.Guard(h.images)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go h.Run(ctx)
		for range 3 {
			<-time.After(40 * time.Minute) // by the clock of the bubble, which nobody waits for
			expectAll(t, "the image", classes(t, guard, p, img.Digest), 0)
			if err := readBlob(t, guard, p, digest.FromString("pulled")); err != nil {
				t.Error(err)
			}
		}
		if n := len(h.list(t)); n != 5 {
			t.Errorf("%d images are left; want all", n)
		}
		<-time.After(2 * time.Hour)
		if n := len(h.list(t)); n != 4 {
			t.Errorf("%d images are left two hours later; want those that were asked for by name", n)
		}
	})
}

// What is pulled of an image stays, though another part of it that was pulled
// before is incomplete.
func TestPullOfWhatIsIncomplete(t *testing.T) {
	h := newHost(pin.Options{OnPull: true})
	root, amd, arm, _ := h.multi(func(b imagetest.Blobs, index ocispec.Descriptor, more ...ocispec.Descriptor) cid.Cid {
		return b.Layout(h.node, nil, append(more, imagetest.Tagged(index, "v1"))...)
	})
	p, guard := image.Path{Root: root}, h.Guard(h.images)
	h.incomplete(t, pin.Request{Path: p, Manifests: []digest.Digest{amd.Digest}, Pulled: true}, "for amd64")
	expectAll(t, "the other platform", classes(t, guard, p, arm.Digest), 0)
	for _, layer := range []string{"shared", "for arm64"} {
		if err := readBlob(t, guard, p, digest.FromString(layer)); err != nil {
			t.Fatal(err)
		}
	}
	h.runUntil(t, func() bool { return slices.Contains(h.list(t)[0].Has, arm.Digest) })
	h.collect(t)
	if err := h.readable(t, p, arm.Digest.String()); err != nil {
		t.Errorf("after a collection: %v", err)
	}
	if i := h.list(t)[0]; i.State != pin.Incomplete || !slices.Contains(i.Manifests, amd.Digest) {
		t.Errorf("kept: %+v", i)
	}
}

// What could never be on the disk is not begun.
func TestLargerThanTheDisk(t *testing.T) {
	h := newHost(pin.Options{})
	h.node.Disk = pin.Usage{Total: 100}
	root, _ := h.layout("a layer that makes the image larger than a hundred bytes")
	if _, err := h.Add(t.Context(), pin.Request{Path: image.Path{Root: root}}, nil); err == nil || !strings.Contains(err.Error(), "the disk of the repository has 100 in all") {
		t.Fatalf("it was kept: %v", err)
	}
	h.node.Disk.Total = 1 << 20
	h.add(t, pin.Request{Path: image.Path{Root: root}})
	h.node.Disk.Total = 100
	h.add(t, pin.Request{Path: image.Path{Root: root}}) // it is there
}
