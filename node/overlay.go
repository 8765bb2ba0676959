package node

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/kubo/config"
)

const (
	// stopTimeout bounds how long the parts of Kubo may take to stop; Kubo's own
	// bound is 12 h.
	stopTimeout = 4 * time.Second
	// outstandingBytes is how much Bitswap sends to a peer ahead of its
	// acknowledgement. Kubo's 1 MiB means one of our blocks a round trip.
	outstandingBytes = 64 << 20
	// swarmMemory bounds what libp2p may hold in buffers: 32 streams at yamux's
	// largest window. Kubo's default is half of the machine.
	swarmMemory = "512MiB"
)

// overlay returns the configuration of this run: the repository's, with what o
// says on top. cfg itself, which is the repository's, stays as it is.
func overlay(cfg *config.Config, o Options, private bool) (*config.Config, error) {
	c, err := cfg.Clone()
	if err != nil {
		return nil, fmt.Errorf("copy the repository's configuration: %w", err)
	}
	quiet(c)
	tune(c)
	setProvide(c, o.Provide)
	c.Discovery.MDNS.Enabled = false // joinLAN does it
	if !o.public(private) {
		isolate(c, o.bootstrapPeers())
	}
	if private {
		setPrivate(c)
	}
	setResolvers(c, o.resolvers())
	if err := setPeers(c, o.Peers); err != nil {
		return nil, err
	}
	return c, setListen(c, o.SwarmListen, private)
}

// quiet turns off what a registry has no use for and what would speak to
// others without being asked.
func quiet(c *config.Config) {
	c.Plugins.Plugins = map[string]config.Plugin{"telemetry": {Disabled: true}}
	c.AutoTLS = config.AutoTLS{Enabled: config.False, AutoWSS: config.False}
	c.AutoNAT.ServiceMode = config.AutoNATServiceDisabled
	c.Swarm.RelayService.Enabled = offUnlessSet(c.Swarm.RelayService.Enabled)
	c.Swarm.RelayClient.Enabled = offUnlessSet(c.Swarm.RelayClient.Enabled)
	c.Swarm.EnableHolePunching = c.Swarm.RelayClient.Enabled
	// Browsers' transports: nothing that pulls an image speaks them.
	t := &c.Swarm.Transports.Network
	t.WebTransport = offUnlessSet(t.WebTransport)
	t.WebRTCDirect = offUnlessSet(t.WebRTCDirect)
	// Kubo's RPC and gateway are not listened for by the node; access to the
	// RPC is decided by whoever serves ControlHandler and APIHandler.
	c.Addresses.API, c.Addresses.Gateway, c.API = nil, nil, config.API{}
}

// tune sets what makes transfers fast, memory small and the stop short.
func tune(c *config.Config) {
	c.Internal.ShutdownTimeout = config.NewOptionalDuration(stopTimeout)
	if c.Internal.Bitswap == nil {
		c.Internal.Bitswap = &config.InternalBitswap{}
	}
	if b := c.Internal.Bitswap; b.MaxOutstandingBytesPerPeer.IsDefault() {
		b.MaxOutstandingBytesPerPeer = *config.NewOptionalInteger(outstandingBytes)
	}
	if c.Swarm.ResourceMgr.MaxMemory.IsDefault() {
		c.Swarm.ResourceMgr.MaxMemory = config.NewOptionalBytes(swarmMemory)
	}
	c.Swarm.DisableBandwidthMetrics = true
}

// setResolvers adds the DNS servers that were named by hand.
func setResolvers(c *config.Config, named map[string]string) {
	if c.DNS.Resolvers == nil && len(named) > 0 {
		c.DNS.Resolvers = map[string]string{}
	}
	maps.Copy(c.DNS.Resolvers, named)
}

// setPeers adds the peers that are kept connected.
func setPeers(c *config.Config, addrs []string) error {
	peers, err := parsePeers("--peer", addrs)
	c.Peering.Peers = append(c.Peering.Peers, peers...)
	return err
}

// setListen sets the addresses to listen on. Of the repository's own, those of
// transports that are off are left out; asked for by name, they are an error.
func setListen(c *config.Config, addrs []string, private bool) error {
	if addrs == nil {
		c.Addresses.Swarm = slices.DeleteFunc(c.Addresses.Swarm, func(a string) bool { return !listenable(c, a) })
		return nil
	}
	for _, a := range addrs {
		if private && !listenable(c, a) {
			return malformed("read --swarm-listen "+a, errors.New("a private swarm speaks TCP only"), "give a multiaddr such as /ip4/0.0.0.0/tcp/4001")
		}
	}
	c.Addresses.Swarm = slices.Clone(addrs)
	return nil
}

// listenable reports whether the transport of a multiaddr is on.
func listenable(c *config.Config, addr string) bool {
	t := c.Swarm.Transports.Network
	switch {
	case strings.Contains(addr, "/webrtc-direct"):
		return t.WebRTCDirect.WithDefault(true)
	case strings.Contains(addr, "/webtransport"):
		return t.WebTransport.WithDefault(true)
	case strings.Contains(addr, "/quic"):
		return t.QUIC.WithDefault(true)
	case strings.HasSuffix(addr, "/ws"), strings.HasSuffix(addr, "/wss"):
		return t.Websocket.WithDefault(true)
	}
	return t.TCP.WithDefault(true)
}

// offUnlessSet returns the flag as the repository's owner set it, else off.
func offUnlessSet(set config.Flag) config.Flag {
	if set != config.Default {
		return set
	}
	return config.False
}
