package node

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

const (
	// A peer of the local network is dialed after a pause of up to lanPause, and
	// if that fails lanTries times in all, after pauses that double.
	lanPause = 500 * time.Millisecond
	lanTries = 8
)

// lan connects to the peers that multicast DNS finds. Kubo's own, which is off,
// dials at once and only once: two nodes that start together then dial each
// other from their listening ports at the same moment, and may stay apart.
type lan struct {
	ctx  context.Context
	host host.Host
	log  *slog.Logger
}

// joinLAN finds the peers of the local network, and is found by them, until e
// closes.
func (e *embedded) joinLAN() error {
	if !e.options.MDNS || e.node.PeerHost == nil {
		return nil
	}
	service := mdns.NewMdnsService(e.node.PeerHost, mdns.ServiceName, lan{e.ctx, e.node.PeerHost, e.options.Log})
	if err := service.Start(); err != nil {
		return fmt.Errorf("find peers of the local network by multicast DNS: %w", err)
	}
	context.AfterFunc(e.ctx, func() { _ = service.Close() })
	return nil
}

// HandlePeerFound is called once for each peer, in a goroutine of its own.
func (l lan) HandlePeerFound(p peer.AddrInfo) {
	pause := lanPause
	for range lanTries {
		select {
		case <-time.After(rand.N(pause)):
		case <-l.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(l.ctx, connectTimeout)
		err := l.host.Connect(ctx, p)
		cancel()
		if err == nil {
			return
		}
		l.log.Debug("no connection to a peer of the local network yet", "peer", p.ID, "error", err)
		pause = 2*pause + time.Second
	}
	l.log.Info("no connection to a peer of the local network: it may be of another swarm", "peer", p.ID, "addresses", p.Addrs)
}
