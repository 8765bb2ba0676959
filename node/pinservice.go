package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	pinclient "github.com/ipfs/boxo/pinning/remote/client"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multiaddr"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

const (
	// askedAtOnce is how many CIDs a question about pins names: the API allows
	// ten, and URLs have their limits.
	askedAtOnce = 10
	// maxRemotePins bounds the pins of a service that are listed.
	maxRemotePins = 100_000
	// serviceTimeout bounds one question to a service.
	serviceTimeout = time.Minute
	// maxOrigins is how many multiaddrs the API lets a request have.
	maxOrigins = 20
)

// PinService is a service of the IPFS Pinning Service API.
type PinService struct {
	endpoint, token string
	client          *pinclient.Client
}

// NewPinService returns the service at an endpoint, a URL, with an access token.
func NewPinService(endpoint, token string) *PinService {
	endpoint = strings.TrimSuffix(endpoint, "/")
	return &PinService{endpoint, token, pinclient.NewClient(endpoint, token)}
}

// Add implements pin.RemoteService.
func (s *PinService) Add(ctx context.Context, c cid.Cid, name string, origins []string) (pin.RemotePin, error) {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	var addrs []multiaddr.Multiaddr
	for _, o := range origins[:min(len(origins), maxOrigins)] {
		if ma, err := multiaddr.NewMultiaddr(o); err == nil {
			addrs = append(addrs, ma)
		}
	}
	got, err := s.client.Add(ctx, c, pinclient.PinOpts.WithName(name), pinclient.PinOpts.WithOrigins(addrs...))
	if err != nil {
		return pin.RemotePin{}, s.failed("pin "+c.String(), err)
	}
	return remotePin(got), nil
}

// Get implements pin.RemoteService.
func (s *PinService) Get(ctx context.Context, id string) (pin.RemotePin, error) {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	got, err := s.client.GetStatusByID(ctx, id)
	if err != nil {
		return pin.RemotePin{}, s.failed("look at the request "+id, err)
	}
	return remotePin(got), nil
}

// List implements pin.RemoteService.
func (s *PinService) List(ctx context.Context, cids []cid.Cid) ([]pin.RemotePin, error) {
	if len(cids) == 0 {
		return s.list(ctx)
	}
	var all []pin.RemotePin
	for len(cids) > 0 {
		n := min(len(cids), askedAtOnce)
		some, err := s.list(ctx, pinclient.PinOpts.FilterCIDs(cids[:n]...))
		if err != nil {
			return nil, err
		}
		all, cids = append(all, some...), cids[n:]
	}
	return all, nil
}

// list reads one page after the other.
func (s *PinService) list(ctx context.Context, filter ...pinclient.LsOption) ([]pin.RemotePin, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	filter = append(filter, pinclient.PinOpts.FilterStatus(pinclient.StatusQueued, pinclient.StatusPinning, pinclient.StatusPinned, pinclient.StatusFailed))
	results, failed := s.client.GoLs(ctx, filter...)
	var all []pin.RemotePin
	for {
		select {
		case got, ok := <-results:
			if !ok {
				return all, s.failed("list pins", <-failed)
			}
			if all = append(all, remotePin(got)); len(all) > maxRemotePins {
				return nil, s.failed("list pins", fmt.Errorf("it has more than %d", maxRemotePins))
			}
		case <-time.After(serviceTimeout):
			return nil, s.failed("list pins", context.DeadlineExceeded)
		}
	}
}

// Remove implements pin.RemoteService.
func (s *PinService) Remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	return s.failed("end the pin of the request "+id, s.client.DeleteByID(ctx, id))
}

func remotePin(got pinclient.PinStatusGetter) pin.RemotePin {
	p := pin.RemotePin{ID: got.GetRequestId(), CID: got.GetPin().GetCid(), Name: got.GetPin().GetName(), Status: pin.RemoteStatus(got.GetStatus())}
	for _, d := range got.GetDelegates() {
		p.Delegates = append(p.Delegates, d.String())
	}
	info := got.GetInfo()
	for _, key := range []string{"status_details", "error", "reason"} {
		if info[key] != "" {
			p.Info = info[key]
			break
		}
	}
	return p
}

// httpStatus finds the status in what boxo's client makes of an answer.
var httpStatus = regexp.MustCompile(`(?:http error |: |^)([45]\d\d)\b`)

// failed gives an error of the service its class. The token is in none.
func (s *PinService) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if s.token != "" {
		text = strings.ReplaceAll(text, s.token, "(token)")
	}
	e := &image.Error{Class: image.Unavailable, Op: op + " at " + s.endpoint, Err: errors.New(text), Hint: "check that the service answers, and its URL"}
	if found := httpStatus.FindStringSubmatch(text); found != nil {
		switch found[1] {
		case fmt.Sprint(http.StatusUnauthorized), fmt.Sprint(http.StatusForbidden):
			e.Class, e.Hint = image.Denied, "check the access token"
		case fmt.Sprint(http.StatusNotFound):
			e.Class, e.Hint = image.NotFound, "check the URL of the service"
		case fmt.Sprint(http.StatusBadRequest):
			e.Class, e.Hint = image.Malformed, ""
		}
	}
	return e
}
