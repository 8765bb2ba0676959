package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	coreiface "github.com/ipfs/kubo/core/coreiface"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Peer is a peer that the node is connected to.
type Peer struct {
	ID string `json:"id"`
	// Address is the multiaddr of its end of the connection.
	Address string `json:"address"`
	// Latency is the measured round trip, or 0 if none was measured yet.
	Latency time.Duration `json:"latency"`
	// Inbound says that the peer opened the connection.
	Inbound bool `json:"inbound"`
}

// ID returns the peer ID of the node and the multiaddrs, ending in that ID,
// that others can connect to; none when the node is offline.
func (n *Node) ID(ctx context.Context) (id string, addrs []string, err error) {
	self, err := n.api.Key().Self(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("ask the node for its identity: %w", err)
	}
	local, err := n.api.Swarm().LocalAddrs(ctx)
	if err != nil && !isOffline(err) {
		return "", nil, fmt.Errorf("ask the node for its addresses: %w", err)
	}
	id = self.ID().String()
	for _, a := range local {
		// A running Kubo's RPC gives them with the ID already.
		if _, err := a.ValueForProtocol(multiaddr.P_P2P); err != nil {
			a = a.Encapsulate(multiaddr.StringCast("/p2p/" + id))
		}
		addrs = append(addrs, a.String())
	}
	return id, addrs, nil
}

// Peers returns the peers that the node is connected to; none when offline.
func (n *Node) Peers(ctx context.Context) ([]Peer, error) {
	conns, err := n.api.Swarm().Peers(ctx)
	if isOffline(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask the node for its peers: %w", err)
	}
	peers := make([]Peer, 0, len(conns))
	for _, c := range conns {
		latency, _ := c.Latency() // only a number that is not there yet
		peers = append(peers, Peer{
			ID: c.ID().String(), Address: c.Address().String(),
			Latency: latency, Inbound: c.Direction() == network.DirInbound,
		})
	}
	return peers, nil
}

// Connect connects the node to the peer at addr, a multiaddr that ends in
// /p2p/<peer ID>, and gives up after 30 s. Connecting again is harmless.
func (n *Node) Connect(ctx context.Context, addr string) error {
	info, err := peer.AddrInfoFromString(addr)
	if err != nil {
		return malformed("connect to "+addr, err, "give a multiaddr such as /ip4/192.0.2.1/tcp/4001/p2p/<peer ID>")
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	err = n.api.Swarm().Connect(ctx, *info)
	switch {
	case isOffline(err):
		return &image.Error{Op: "connect to " + addr, Err: err, Hint: "start the node without --offline"}
	case err != nil:
		return &image.Error{
			Class: image.Unavailable, Op: "connect to " + addr, Err: err,
			Hint: "check that the peer runs, that the address is reachable, and that both have the same swarm key or none",
		}
	}
	return nil
}

// Ready returns nil when the node can be used, or what it waits for.
func (n *Node) Ready(ctx context.Context) error { return n.backing.ready(ctx) }

// ready waits only for peers that were asked for: a node that has nobody to
// talk to serves what it has.
func (e *embedded) ready(context.Context) error {
	if e.node.PeerHost == nil {
		return nil
	}
	peers, err := parsePeers("--peer", e.options.Peers)
	if err != nil || len(peers) == 0 {
		return err
	}
	for _, p := range peers {
		if e.node.PeerHost.Network().Connectedness(p.ID) == network.Connected {
			return nil
		}
	}
	return fmt.Errorf("waiting for peers: 0 of %d configured peers connected", len(peers))
}

func isOffline(err error) bool { return errors.Is(err, coreiface.ErrOffline) }
