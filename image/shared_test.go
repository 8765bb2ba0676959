package image_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

// waiting is a Source whose files come when they are let go.
type waiting struct {
	*imagetest.Store
	letGo       chan struct{}
	begun, open atomic.Int32
}

func (s *waiting) Open(ctx ctx, p image.Path) (image.File, error) {
	s.begun.Add(1)
	s.open.Add(1)
	defer s.open.Add(-1)
	select {
	case <-s.letGo:
		return s.Store.Open(ctx, p)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// want is how many files have been opened, and how many are waited for, almost a
// second later.
func (s *waiting) want(t *testing.T, begun, open int32, when string) {
	t.Helper()
	<-time.After(999 * time.Millisecond) // of the bubble
	synctest.Wait()
	if s.begun.Load() != begun || s.open.Load() != open {
		t.Errorf("%s: %d files were opened and %d are waited for; want %d and %d", when, s.begun.Load(), s.open.Load(), begun, open)
	}
}

// opens are those of a root, of the files that make a layout of it and of the
// directory of its blobs.
const opens = 4

func waitingImage() (*waiting, *image.Resolver, image.Path) {
	b, s := imagetest.Blobs{}, &waiting{Store: imagetest.NewStore(), letGo: make(chan struct{})}
	return s, resolver(s), at(b.Layout(s.Store, nil, b.Image("amd64", []byte("x"))))
}

// client waits for a manifest until it leaves.
type client struct {
	leave context.CancelFunc
	err   chan error
}

func newClient(ctx ctx, r *image.Resolver, p image.Path) client {
	ctx, leave := context.WithCancel(ctx)
	c := client{leave, make(chan error, 1)}
	go func() {
		m, err := r.Manifest(ctx, p, "latest")
		if err == nil {
			err = m.Close()
		}
		c.err <- err
	}()
	synctest.Wait()
	return c
}

func (c client) gone(t *testing.T) {
	t.Helper()
	c.leave()
	if err := <-c.err; !errors.Is(err, context.Canceled) {
		t.Errorf("who has gone was told %v", err)
	}
}

// All who ask for an image wait for the same. When the last of them has gone it
// goes on for a moment, and ends; who comes then begins anew.
func TestTheLastOneEndsTheResolving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, p := waitingImage()
		first, second := newClient(t.Context(), r, p), newClient(t.Context(), r, p)
		first.gone(t)
		s.want(t, opens, opens, "one still waits")
		s.want(t, opens, opens, "one still waits, later")
		second.gone(t)
		s.want(t, opens, opens, "both have gone just now")
		third := newClient(t.Context(), r, p)
		s.want(t, opens, opens, "one came back")
		s.want(t, opens, opens, "one came back, later")
		third.gone(t)
		s.want(t, opens, opens, "it has gone again")
		s.want(t, opens, 0, "nobody came back")
		fourth := newClient(t.Context(), r, p)
		s.want(t, 2*opens, opens, "one came later")
		close(s.letGo)
		if err := <-fourth.err; err != nil {
			t.Errorf("who came later was told %v", err)
		}
	})
}

// A HEAD whose time is over finds the answer when it comes again.
func TestWhoRanOutOfTimeComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, p := waitingImage()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := <-newClient(ctx, r, p).err; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who ran out of time was told %v", err)
		}
		s.want(t, opens, opens, "its time is over")
		s.want(t, opens, opens, "it has been told when to come again")
		again := newClient(t.Context(), r, p)
		s.want(t, opens, opens, "it came again")
		close(s.letGo)
		if err := <-again.err; err != nil {
			t.Errorf("who came again was told %v", err)
		}
	})
}

// What nobody comes back for ends, though somebody was told to, and left before
// one that was not.
func TestWhoRanOutOfTimeStaysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, p := waitingImage()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		late, gone := newClient(ctx, r, p), newClient(t.Context(), r, p)
		if err := <-late.err; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who ran out of time was told %v", err)
		}
		gone.gone(t)
		<-time.After(28 * time.Second)
		s.want(t, opens, opens, "it may still come")
		<-time.After(time.Second)
		s.want(t, opens, 0, "it has not come")
	})
}
