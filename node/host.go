package node

import (
	"github.com/ipfs/kubo/core/node/libp2p"
	golibp2p "github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
)

// streamWindow is how much a peer may send on a new stream before it hears from
// us: a part of a file with what leads to it, which so takes one round trip.
// yamux's own 256 KiB grow only by doubling, once a round trip.
const streamWindow = partSize + 64<<10

// newHost makes Kubo's host with that window. Of two multiplexers of one name
// libp2p uses the first.
func newHost(id peer.ID, ps peerstore.Peerstore, options ...golibp2p.Option) (host.Host, error) {
	muxer := *yamux.DefaultTransport
	muxer.InitialStreamWindowSize = streamWindow
	return libp2p.DefaultHostOption(id, ps, append([]golibp2p.Option{golibp2p.Muxer(yamux.ID, &muxer)}, options...)...)
}
