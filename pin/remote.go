package pin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// RemoteStatus is how far a pinning service is; the words are those of the IPFS
// Pinning Service API.
type RemoteStatus string

// The statuses.
const (
	RemoteQueued  RemoteStatus = "queued"
	RemotePinning RemoteStatus = "pinning"
	RemotePinned  RemoteStatus = "pinned"
	RemoteFailed  RemoteStatus = "failed"
)

// RemotePin is a pin that somebody else keeps for us.
type RemotePin struct {
	// ID is what the service calls the request.
	ID     string       `json:"id"`
	CID    cid.Cid      `json:"cid"`
	Name   string       `json:"name"`
	Status RemoteStatus `json:"status"`
	// Delegates are the multiaddrs of those who will fetch it.
	Delegates []string `json:"delegates,omitempty"`
	// Info is what the service says besides, such as why it failed.
	Info string `json:"info,omitempty"`
}

// RemoteService is a service of the IPFS Pinning Service API. Its errors are of
// the classes of image.Error: Denied for a token that does not do, Unavailable
// for a service that does not answer, NotFound for a pin that is not there.
type RemoteService interface {
	// Add asks for a DAG to be pinned. origins are the multiaddrs of those who
	// have it.
	Add(ctx context.Context, c cid.Cid, name string, origins []string) (RemotePin, error)
	Get(ctx context.Context, id string) (RemotePin, error)
	// List returns the pins of the CIDs, or all pins where there are none.
	List(ctx context.Context, cids []cid.Cid) ([]RemotePin, error)
	Remove(ctx context.Context, id string) error
}

// RemoteParts are the DAGs that have to be pinned elsewhere for an image to be
// kept there: its root, where that reaches all of it, else besides it every
// manifest and blob.
func RemoteParts(root cid.Cid, parts []Part) []cid.Cid {
	all := []cid.Cid{root}
	for _, p := range parts {
		if p.Mode == Direct && p.CID == root {
			return all // a directory: a service pins all that is below it
		}
		if p.Mode == Recursive && p.CID != root {
			all = append(all, p.CID)
		}
	}
	return all
}

const (
	// The pauses between two questions for a status.
	firstPoll, maxPoll = 200 * time.Millisecond, 5 * time.Second
	// maxPollFailures is how many of them in a row may fail.
	maxPollFailures = 5
)

// HandOn asks a service to pin the DAGs. What it pins, or was asked to pin,
// already is not asked for again.
func HandOn(ctx context.Context, s RemoteService, dags []cid.Cid, name string, origins []string) ([]RemotePin, error) {
	there, err := s.List(ctx, dags)
	if err != nil {
		return nil, err
	}
	var pins []RemotePin
	for _, c := range dags {
		i := slices.IndexFunc(there, func(p RemotePin) bool { return p.CID.Equals(c) && p.Status != RemoteFailed })
		if i >= 0 {
			pins = append(pins, there[i])
			continue
		}
		p, err := s.Add(ctx, c, name, origins)
		if err != nil {
			return pins, err
		}
		pins = append(pins, p)
	}
	return pins, nil
}

// Await asks the service for the pins until all of them are Pinned, and returns
// them as they are then. told, unless it is nil, is told how many are each time.
// ctx bounds it; when it ends, the service goes on by itself.
func Await(ctx context.Context, s RemoteService, pins []RemotePin, told func(pinned int)) ([]RemotePin, error) {
	pins = slices.Clone(pins)
	failures := 0
	for pause := firstPoll; ; pause = min(2*pause, maxPoll) {
		pinned, err := poll(ctx, s, pins)
		switch {
		case err == nil:
			failures = 0
		case image.ClassOf(err) != image.Unavailable || ctx.Err() != nil:
			return pins, awaited(ctx, pins, err)
		default:
			if failures++; failures >= maxPollFailures {
				return pins, err
			}
		}
		if told != nil {
			told(pinned)
		}
		if pinned == len(pins) {
			return pins, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return pins, awaited(ctx, pins, ctx.Err())
		}
	}
}

// awaited makes the end of ctx an error that says how far the service was.
func awaited(ctx context.Context, pins []RemotePin, err error) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	var open []string
	for _, p := range pins {
		if p.Status != RemotePinned {
			open = append(open, fmt.Sprintf("%s is %s", p.CID, p.Status))
		}
	}
	return &image.Error{Class: image.Unavailable, Op: "wait for the pinning service",
		Err:  fmt.Errorf("%d of %d DAGs are not pinned yet: %s", len(open), len(pins), strings.Join(open[:min(len(open), 3)], ", ")),
		Hint: "it goes on by itself as long as this node, or another that has them, can be reached; run it again to see, or wait longer with --wait"}
}

// poll asks once for what is not pinned yet, and returns how many are.
func poll(ctx context.Context, s RemoteService, pins []RemotePin) (pinned int, err error) {
	for i, p := range pins {
		if p.Status != RemotePinned {
			now, err := s.Get(ctx, p.ID)
			if err != nil {
				return pinned, err
			}
			pins[i] = now
		}
		switch pins[i].Status {
		case RemotePinned:
			pinned++
		case RemoteFailed:
			return pinned, &image.Error{Op: "pin " + p.CID.String() + " remotely",
				Err: fmt.Errorf("the service says that it failed: %q", pins[i].Info), Hint: "check that the service can reach this node, and run it again"}
		}
	}
	return pinned, nil
}

// LetGo ends the pin of the first of the DAGs, an image's root, and of the others
// those that were asked for with it, which its name tells. It returns how many.
func LetGo(ctx context.Context, s RemoteService, dags []cid.Cid) (int, error) {
	pins, err := s.List(ctx, dags)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(pins, func(p RemotePin) bool { return p.CID.Equals(dags[0]) })
	if i < 0 {
		return 0, &image.Error{Class: image.NotFound, Op: "let go of " + dags[0].String() + " remotely", Err: errors.New("the service has no pin of it")}
	}
	name, ended := pins[i].Name, 0
	for _, p := range pins {
		if p.Name != name {
			continue // it is another image's as well
		}
		if err := s.Remove(ctx, p.ID); err != nil && image.ClassOf(err) != image.NotFound {
			return ended, err
		}
		ended++
	}
	return ended, nil
}
