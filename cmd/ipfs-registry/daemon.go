package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs-registry/ipfs-registry/pin"
)

// drainLimit is how long requests in flight may go on after SIGTERM; well under
// the 90 s after which systemd kills and the 10 s after which Docker does.
const drainLimit = 8 * time.Second

// daemon is the group of HTTP servers that start and end together.
type daemon struct {
	servers []*http.Server
	failed  chan error
	// keeper is nil as long as nothing is kept, and endKeeping ends it.
	keeper     atomic.Pointer[pin.Keeper]
	endKeeping func()
}

func newDaemon() *daemon {
	return &daemon{failed: make(chan error, 1), endKeeping: func() {}}
}

// keep runs a keeper until endKeeping.
func (d *daemon) keep(k *pin.Keeper) {
	d.keeper.Store(k)
	d.endKeeping = keep(k)
}

// diskFull has room made.
func (d *daemon) diskFull() {
	if k := d.keeper.Load(); k != nil {
		k.Wake()
	}
}

// serve serves ls, which it closes, until drain or a failure of one of them.
func (d *daemon) serve(s *http.Server, ls ...net.Listener) {
	d.servers = append(d.servers, s)
	for _, l := range ls {
		go func() {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				select {
				case d.failed <- err:
				default: // the first failure is the one that is told
				}
			}
		}()
	}
}

// wait returns when ctx ends, without an error, or a server fails.
func (d *daemon) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.failed:
		return err
	}
}

// drain stops accepting and waits for the requests in flight until limit, then
// cuts them off; it returns how many servers it had to cut.
func (d *daemon) drain(limit time.Duration) int {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var all sync.WaitGroup
	cut := make(chan struct{}, len(d.servers))
	for _, s := range d.servers {
		all.Go(func() {
			if s.Shutdown(ctx) != nil {
				_ = s.Close() // what it says is what Shutdown said
				cut <- struct{}{}
			}
		})
	}
	all.Wait()
	return len(cut)
}
