package pin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/pin"
	"github.com/ipfs-registry/ipfs-registry/pin/pintest"
)

// service is a pinning service that is asked a few times until it has a DAG.
type service struct {
	pins  map[string]*pin.RemotePin
	slow  int  // questions until a pin is pinned; below zero: it never is
	fails bool // pins fail
	down  int  // questions that get no answer
}

func (s *service) Add(_ context.Context, c cid.Cid, name string, _ []string) (pin.RemotePin, error) {
	p := &pin.RemotePin{ID: fmt.Sprint("request ", len(s.pins)), CID: c, Name: name, Status: pin.RemoteQueued}
	s.pins[p.ID] = p
	return *p, nil
}

func (s *service) Get(_ context.Context, id string) (pin.RemotePin, error) {
	if s.down > 0 {
		s.down--
		return pin.RemotePin{}, &image.Error{Class: image.Unavailable, Op: "ask", Err: errors.New("no answer")}
	}
	p := s.pins[id]
	switch {
	case s.fails:
		p.Status, p.Info = pin.RemoteFailed, "disk full"
	case s.slow == 0:
		p.Status = pin.RemotePinned
	default:
		s.slow--
	}
	return *p, nil
}

func (s *service) List(_ context.Context, cids []cid.Cid) (all []pin.RemotePin, err error) {
	for _, p := range s.pins {
		if len(cids) == 0 || slices.Contains(cids, p.CID) {
			all = append(all, *p)
		}
	}
	return all, nil
}

func (s *service) Remove(_ context.Context, id string) error {
	delete(s.pins, id)
	return nil
}

func TestHandingOn(t *testing.T) {
	n := pintest.NewNode()
	one, shared, two := n.AddFile([]byte("one")), n.AddFile([]byte("shared")), n.AddFile([]byte("two"))
	s := &service{pins: map[string]*pin.RemotePin{}, slow: 3, down: 2}
	handOn := func(within time.Duration, name string, dags ...cid.Cid) error {
		t.Helper()
		pins, err := pin.HandOn(t.Context(), s, dags, name, nil)
		if err != nil || len(pins) != len(dags) {
			t.Fatalf("%v, %v", pins, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		pins, err = pin.Await(ctx, s, pins, nil)
		if err == nil && slices.ContainsFunc(pins, func(p pin.RemotePin) bool { return p.Status != pin.RemotePinned }) {
			t.Errorf("%v are not pinned", pins)
		}
		return err
	}
	for range 2 { // the second time nothing is asked for
		if err := handOn(time.Minute, "first", one, shared); err != nil {
			t.Fatal(err)
		}
	}
	if err := handOn(time.Minute, "second", two, shared); err != nil || len(s.pins) != 3 {
		t.Fatalf("%d pins, %v", len(s.pins), err)
	}
	if n, err := pin.LetGo(t.Context(), s, []cid.Cid{two, shared}); n != 1 || err != nil {
		t.Errorf("let go of %d, %v", n, err)
	}
	if _, err := pin.LetGo(t.Context(), s, []cid.Cid{two, shared}); image.ClassOf(err) != image.NotFound || len(s.pins) != 2 {
		t.Errorf("let go twice: %v", err)
	}
	s.slow = -1
	if err := handOn(50*time.Millisecond, "second", two); image.ClassOf(err) != image.Unavailable {
		t.Errorf("it never comes: %v", err)
	}
	s.fails = true
	if err := handOn(time.Minute, "second", two); image.ClassOf(err) != 0 || err == nil {
		t.Errorf("it fails: %v", err)
	}
}
