package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/core"
	"github.com/ipfs/kubo/repo"
	"github.com/libp2p/go-libp2p/core/pnet"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const swarmKeyHint = `make one with "ipfs-registry swarm key", and give every node of the swarm the same`

// isPrivate reports whether the swarm of the repository is a private one. It
// fails when it should be, and no usable key is there.
func isPrivate(r repo.Repo, o Options) (bool, error) {
	op := "join the private swarm of " + r.Path()
	key, err := r.SwarmKey()
	if err != nil {
		return false, &image.Error{Op: op, Err: err, Hint: "make the swarm key readable for this user"}
	}
	if key == nil {
		if o.Private || pnet.ForcePrivateNetwork {
			return false, &image.Error{Op: op, Err: errors.New("the repository has no swarm.key"), Hint: swarmKeyHint}
		}
		return false, nil
	}
	if err := CheckSwarmKey(key); err != nil {
		return false, &image.Error{Op: op, Err: fmt.Errorf("the swarm key is malformed: %w", err), Hint: "remove it and " + swarmKeyHint}
	}
	if !o.Private {
		o.Log.Warn("there is a swarm key: the swarm is private, as if --private were given", "repository", r.Path())
	}
	return true, nil
}

// isolate leaves nothing in c that would contact the public network by itself:
// only the bootstrap peers given, and those that peers of theirs tell of.
func isolate(c *config.Config, bootstrap []string) {
	c.AutoConf = config.AutoConf{Enabled: config.False}
	c.Bootstrap = slices.Clone(bootstrap)
	c.Peering.Peers = nil
	// Without an entry of its own, "eth." would be resolved by a public server.
	c.DNS.Resolvers = map[string]string{"eth.": ""}
	c.Ipns.DelegatedPublishers = nil
	isolateRouting(&c.Routing)
	isolateSwarm(&c.Swarm)
	c.HTTPRetrieval = config.HTTPRetrieval{Enabled: config.False}
	c.Internal.CGNATCheck = config.False
	// The addresses of a swarm of one's own need not be public.
	c.Internal.NonPublicAddrPublishing = config.True
}

func isolateRouting(r *config.Routing) {
	kind := r.Type.WithDefault("dht")
	if kind != "none" {
		kind = "dht"
	}
	*r = config.Routing{
		Type:                      config.NewOptionalString(kind),
		IgnoreProviders:           r.IgnoreProviders,
		LoopbackAddressesOnLanDHT: config.True,
	}
}

func isolateSwarm(s *config.SwarmConfig) {
	s.RelayClient = config.RelayClient{Enabled: config.False}
	s.RelayService = config.RelayService{Enabled: config.False}
	s.EnableHolePunching = config.False
	s.DisableNatPortMap = true
}

// setPrivate leaves the one transport that a swarm key protects without having
// to share its listener.
func setPrivate(c *config.Config) {
	t := &c.Swarm.Transports.Network
	t.TCP = config.True
	t.QUIC, t.Websocket, t.WebTransport, t.WebRTCDirect = config.False, config.False, config.False, config.False
}

// checkIsolated is the last look at a configuration before a node runs with
// it: a part of isolate or setPrivate that is missing keeps the node from
// starting, rather than letting it talk.
func checkIsolated(c *config.Config, private bool, named map[string]string) error {
	n := c.Swarm.Transports.Network
	parts := []struct {
		name string
		done bool
	}{
		{"AutoConf", c.AutoConf.Enabled == config.False},
		{`"auto" bootstrap peers`, !slices.Contains(c.Bootstrap, config.AutoPlaceholder)},
		{"public DNS resolvers", onlyNamed(c.DNS.Resolvers, named)},
		{"delegated routing", slices.Contains([]string{"dht", "none"}, c.Routing.Type.WithDefault("")) && len(c.Routing.DelegatedRouters) == 0 && len(c.Routing.Routers) == 0},
		{"delegated IPNS publishers", len(c.Ipns.DelegatedPublishers) == 0},
		{"AutoTLS", c.AutoTLS.Enabled == config.False},
		{"HTTP retrieval", c.HTTPRetrieval.Enabled == config.False},
		{"public relays", c.Swarm.RelayClient.Enabled == config.False && len(c.Swarm.RelayClient.StaticRelays) == 0},
		{"relaying for others", c.Swarm.RelayService.Enabled == config.False},
		{"NAT port mapping", c.Swarm.DisableNatPortMap},
		{"telemetry", c.Plugins.Plugins["telemetry"].Disabled},
		{"transports that ignore the swarm key", !private || n.QUIC == config.False && n.Websocket == config.False &&
			n.WebTransport == config.False && n.WebRTCDirect == config.False},
		{"listening on other than TCP", !private || !slices.ContainsFunc(c.Addresses.Swarm, func(a string) bool { return strings.Contains(a, "/udp/") })},
	}
	var left []string
	for _, p := range parts {
		if !p.done {
			left = append(left, p.name)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("refuse to start apart from the public network: still on: %s", strings.Join(left, ", "))
	}
	return nil
}

// onlyNamed reports whether no DNS server is asked but those that were named by
// hand. "eth." has one of its own in Kubo unless it is told another.
func onlyNamed(resolvers, named map[string]string) bool {
	for domain, url := range resolvers {
		if url != "" && url != named[domain] {
			return false
		}
	}
	_, told := resolvers["eth."]
	return told
}

// forgetPeers removes the peers that Kubo remembered from an earlier run, to
// fall back to when no bootstrap peer answers: they may be public ones, and the
// start would wait for them.
func forgetPeers(ctx context.Context, ds datastore.Datastore) error {
	if err := ds.Delete(ctx, core.TempBootstrapPeersKey); err != nil {
		return fmt.Errorf("forget the peers of earlier runs: %w", err)
	}
	return ds.Sync(ctx, core.TempBootstrapPeersKey)
}
