package pin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
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

// endlessOnce never comes to the end of the first image that it is asked for.
type endlessOnce struct {
	*image.Resolver
	asked *atomic.Bool
}

func (e endlessOnce) Closure(ctx context.Context, p image.Path, s image.Selection) (*image.Closure, error) {
	if e.asked.CompareAndSwap(false, true) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return e.Resolver.Closure(ctx, p, s)
}

// Who asks for an image by name does not wait for an addition that nobody waits for,
// and what it ends is not let go of in between.
func TestWhoAsksByNameGoesOn(t *testing.T) {
	for range 100 { // anybody may be the first when that has ended
		synctest.Test(t, func(t *testing.T) {
			h := newHost(pin.Options{})
			root, _ := h.layout("a layer")
			p := image.Path{Root: root}
			first := h.add(t, pin.Request{Path: p, Pulled: true})
			h.Keeper = pin.New(endlessOnce{h.images, &atomic.Bool{}}, h.node, h.store, pin.Options{Retain: time.Minute})
			pulled := make(chan error, 1)
			go func() {
				_, err := h.Add(t.Context(), pin.Request{Path: p, Pulled: true}, nil)
				pulled <- err
			}()
			synctest.Wait()
			<-time.After(2 * time.Minute) // by the clock of the bubble, which nobody waits for
			ctx, stop := context.WithCancel(t.Context())
			go h.Run(ctx)
			if _, err := h.Add(t.Context(), pin.Request{Path: p}, nil); err != nil {
				t.Error(err)
			}
			err := <-pulled
			stop()
			synctest.Wait()
			i := h.list(t)
			if len(i) != 1 || i[0].State != pin.Kept || !i[0].Explicit {
				t.Fatalf("kept: %+v", i)
			}
			switch {
			case err != nil && strings.Contains(err.Error(), "goes on with it"):
				if !i[0].Added.Equal(first.Added) {
					t.Error("it was let go of in between")
				}
			case err == nil || !strings.Contains(err.Error(), "let go of"): // before anybody asked
				t.Errorf("the addition that nobody waited for gave %v", err)
			}
		})
	}
}

// What is let go of does not come back for a pull from before.
func TestWhatIsLetGoOfDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(pin.Options{})
		root, img := h.layout("pulled")
		p := image.Path{Root: root}
		h.add(t, pin.Request{Path: p})
		h.Keeper = pin.New(h.images, h.node, h.store, pin.Options{OnPull: true})
		guard := h.Guard(h.images)
		expectAll(t, "the image", classes(t, guard, p, img.Digest), 0)
		if err := readBlob(t, guard, p, digest.FromString("pulled")); err != nil {
			t.Error(err)
		}
		if err := h.Remove(t.Context(), p); err != nil {
			t.Error(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		go h.Run(ctx)
		<-time.After(time.Hour) // by the clock of the bubble, which nobody waits for
		stop()
		synctest.Wait()
		if all := h.list(t); len(all) != 0 {
			t.Errorf("listed: %+v", all)
		}
	})
}

// Who is told that an addition ended hears why.
func TestWhoseAdditionIsLetGoOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(pin.Options{})
		root, _ := h.layout("a layer")
		p := image.Path{Root: root}
		h.Keeper = pin.New(endless{h.images, []cid.Cid{root}}, h.node, h.store, pin.Options{})
		added := make(chan error, 1)
		go func() {
			_, err := h.Add(t.Context(), pin.Request{Path: p}, nil)
			added <- err
		}()
		synctest.Wait()
		if err := h.Remove(t.Context(), p); err != nil {
			t.Error(err)
		}
		if err := <-added; err == nil || err.Error() != "keep "+p.String()+": it was let go of meanwhile" {
			t.Error(err)
		}
	})
}

// Images whose additions somebody waits for take nobody's place.
func TestPlacesAreForThoseThatAreBrought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(pin.Options{OnPull: true})
		var never []cid.Cid
		var images []ocispec.Descriptor
		for n := range 4 {
			root, img := h.layout(fmt.Sprint("never ", n))
			never, images = append(never, root), append(images, img)
		}
		next, _ := h.layout("next")
		h.incomplete(t, pin.Request{Path: image.Path{Root: next}}, "next")
		h.Keeper = pin.New(endless{h.images, never}, h.node, h.store, pin.Options{OnPull: true})
		guard := h.Guard(h.images)
		ctx, stop := context.WithCancel(t.Context())
		for n, root := range never {
			p := image.Path{Root: root}
			go func() { _, _ = h.Add(ctx, pin.Request{Path: p}, nil) }()
			synctest.Wait()
			expectAll(t, "the image", classes(t, guard, p, images[n].Digest), 0)
			if err := readBlob(t, guard, p, digest.FromString(fmt.Sprint("never ", n))); err != nil {
				t.Error(err)
			}
		}
		go h.Run(ctx)
		<-time.After(5 * time.Second) // by the clock of the bubble, which nobody waits for
		h.node.AddFile([]byte("next"))
		<-time.After(time.Hour)
		stop()
		synctest.Wait()
		if all := h.list(t); !slices.ContainsFunc(all, func(i *pin.Image) bool { return i.Root == next && i.State == pin.Kept }) {
			t.Errorf("the next one is not kept: %+v", all)
		}
	})
}

// Another part of an image that is kept, pulled while some of it could not be had, is
// kept when it can, and is in no other's way.
func TestAPullIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(pin.Options{OnPull: true})
		b := imagetest.Blobs{}
		image1, lacks, other := b.Image("amd64", []byte("shared")), b.Image("arm64", []byte("shared"), []byte("for arm64")), b.Image("s390x", []byte("shared"))
		p := image.Path{Root: b.Layout(h.node, nil, imagetest.Tagged(b.Index(image1, lacks, other), "v1"))}
		h.add(t, pin.Request{Path: p, Manifests: []digest.Digest{image1.Digest}, Pulled: true})
		h.node.Network.Remove(h.node.AddFile([]byte("for arm64")))
		guard := h.Guard(h.images)
		for _, pulled := range []ocispec.Descriptor{lacks, other} {
			expectAll(t, "another platform", classes(t, guard, p, pulled.Digest), 0)
			if err := readBlob(t, guard, p, digest.FromString("shared")); err != nil {
				t.Error(err)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		go h.Run(ctx)
		<-time.After(5 * time.Minute) // by the clock of the bubble, which nobody waits for
		if i := h.list(t)[0]; i.State != pin.Kept || slices.Contains(i.Has, lacks.Digest) || !slices.Contains(i.Has, other.Digest) {
			t.Errorf("kept: %+v", i)
		}
		h.node.AddFile([]byte("for arm64"))
		<-time.After(time.Hour)
		stop()
		synctest.Wait()
		if i := h.list(t)[0]; i.State != pin.Kept || !slices.Contains(i.Has, lacks.Digest) {
			t.Errorf("kept: %+v", i)
		}
	})
}

// What is pinned of an addition that fails then is not left to nobody.
func TestPinsOfAnAdditionThatFails(t *testing.T) {
	h := newHost(pin.Options{})
	root, amd, arm, _ := h.multi(func(b imagetest.Blobs, index ocispec.Descriptor, more ...ocispec.Descriptor) cid.Cid {
		return b.Layout(h.node, nil, append(more, imagetest.Tagged(index, "v1"))...)
	})
	p := image.Path{Root: root}
	had := h.add(t, pin.Request{Path: p, Manifests: []digest.Digest{amd.Digest}})
	full := errors.New("no space left on the device")
	h.store.Step = func() error { return full }
	_, err := h.Add(t.Context(), pin.Request{Path: p, Manifests: []digest.Digest{arm.Digest}}, nil)
	h.store.Step = nil
	if !errors.Is(err, full) {
		t.Fatal(err)
	}
	if i := h.list(t)[0]; i.State != pin.Kept || !slices.Equal(i.Has, had.Has) {
		t.Errorf("kept: %+v", i)
	}
	if !h.settled(t) {
		t.Error("there are pins that nothing needs")
	}
	if err := h.readable(t, p, amd.Digest.String()); err != nil {
		t.Error(err)
	}
}
