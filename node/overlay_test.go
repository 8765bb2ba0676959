package node

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/kubo/config"
)

func TestOverlayLeavesTheStoredConfigAlone(t *testing.T) {
	stored := defaultConfig(t)
	before, err := json.Marshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	for mode, o := range modes() {
		o.Peers = []string{deadPeer}
		if _, err := overlay(stored, o, o.Private); err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
	}
	if after, err := json.Marshal(stored); err != nil || string(after) != string(before) {
		t.Errorf("%v, from %s to %s", err, before, after)
	}
}

func TestOverlay(t *testing.T) {
	for name, test := range map[string]struct {
		stored func(*config.Config)
		o      Options
		holds  func(*config.Config) bool
	}{
		"public keeps AutoConf": {
			o:     Options{Online: true},
			holds: func(c *config.Config) bool { return slices.Equal(c.Bootstrap, []string{"auto"}) },
		},
		"stop within seconds": {
			o:     Options{Online: true},
			holds: func(c *config.Config) bool { return c.Internal.ShutdownTimeout.WithDefault(time.Hour) <= 5*time.Second },
		},
		"Bitswap sends 64 MiB ahead": {
			o: Options{Online: true},
			holds: func(c *config.Config) bool {
				return c.Internal.Bitswap.MaxOutstandingBytesPerPeer.WithDefault(0) == 64<<20
			},
		},
		"unless the owner says otherwise": {
			stored: func(c *config.Config) {
				c.Internal.Bitswap = &config.InternalBitswap{MaxOutstandingBytesPerPeer: *config.NewOptionalInteger(5)}
			},
			o:     Options{Online: true},
			holds: func(c *config.Config) bool { return c.Internal.Bitswap.MaxOutstandingBytesPerPeer.WithDefault(0) == 5 },
		},
		"no listener for the RPC or a gateway": {
			holds: func(c *config.Config) bool { return len(c.Addresses.API)+len(c.Addresses.Gateway) == 0 },
		},
		"RPC authorizations do not lock our socket": {
			stored: func(c *config.Config) {
				c.API.Authorizations = map[string]*config.RPCAuthScope{"x": {AuthSecret: "bearer:y"}}
			},
			holds: func(c *config.Config) bool { return len(c.API.Authorizations) == 0 },
		},
		"listen addresses of transports that are off are dropped": {
			o: Options{Online: true},
			holds: func(c *config.Config) bool {
				return slices.Equal(c.Addresses.Swarm, []string{"/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1", "/ip6/::/udp/4001/quic-v1"})
			},
		},
		"private listens on TCP": {
			o: Options{Online: true, Private: true},
			holds: func(c *config.Config) bool {
				return slices.Equal(c.Addresses.Swarm, []string{"/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001"})
			},
		},
		"own listen addresses": {
			o:     Options{Online: true, SwarmListen: []string{"/ip4/127.0.0.1/tcp/5"}},
			holds: func(c *config.Config) bool { return slices.Equal(c.Addresses.Swarm, []string{"/ip4/127.0.0.1/tcp/5"}) },
		},
		"own bootstrap": {
			o:     Options{Online: true, Bootstrap: []string{deadPeer}},
			holds: func(c *config.Config) bool { return slices.Equal(c.Bootstrap, []string{deadPeer}) },
		},
		"peers": {
			o:     Options{Online: true, Peers: []string{deadPeer}},
			holds: func(c *config.Config) bool { return len(c.Peering.Peers) == 1 },
		},
		"Kubo's mDNS off": {o: Options{Online: true, MDNS: true}, holds: func(c *config.Config) bool { return !c.Discovery.MDNS.Enabled }},
		"relays off, on the public network too": {o: Options{Online: true}, holds: func(c *config.Config) bool {
			return c.Swarm.RelayClient.Enabled == config.False && c.Swarm.RelayService.Enabled == config.False && c.Swarm.EnableHolePunching == config.False
		}},
		"announce nothing":   {o: Options{Provide: ProvideNone}, holds: func(c *config.Config) bool { return c.Provide.Enabled == config.False }},
		"announce pinned":    {o: Options{Provide: ProvidePinned}, holds: strategy("pinned+mfs")},
		"announce published": {o: Options{Provide: ProvidePublished}, holds: strategy("mfs")},
		"none stays none": {
			stored: func(c *config.Config) { c.Routing.Type = config.NewOptionalString("none") },
			o:      Options{Online: true, Bootstrap: []string{NoBootstrap}},
			holds:  func(c *config.Config) bool { return c.Routing.Type.WithDefault("") == "none" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			stored := defaultConfig(t)
			if test.stored != nil {
				test.stored(stored)
			}
			c, err := overlay(stored, test.o, test.o.Private)
			if err != nil {
				t.Fatal(err)
			}
			if !test.holds(c) {
				b, _ := json.MarshalIndent(c, "", " ")
				t.Errorf("does not hold in %s", b)
			}
		})
	}
}

func strategy(want string) func(*config.Config) bool {
	return func(c *config.Config) bool {
		return c.Provide.Enabled == config.True && c.Provide.Strategy.WithDefault("") == want
	}
}

// What AutoConf is for: a node that joins the public network has an address of
// somebody, and no "auto" left.
func TestJoinPublicFillsInAutoConf(t *testing.T) {
	c, err := overlay(defaultConfig(t), Options{Online: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Options{Online: true}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	e := &embedded{options: o, ctx: canceled(t)} // nothing is fetched
	path := t.TempDir()
	if err := e.joinPublic(c, path); err != nil {
		t.Fatal(err)
	}
	e.background.Wait()
	if got := c.Routing.Type.WithDefault(""); got != "autoclient" {
		t.Errorf("routing %q, want a DHT client's", got)
	}
	if len(c.Bootstrap) == 0 || len(c.Routing.DelegatedRouters) == 0 {
		t.Errorf("bootstrap %v, delegated routers %v", c.Bootstrap, c.Routing.DelegatedRouters)
	}
	if b, err := json.Marshal([]any{c.Bootstrap, c.DNS, c.Routing, c.Ipns}); err != nil || slices.Contains(c.Bootstrap, "auto") {
		t.Errorf("%s, %v", b, err)
	}
	if _, err := parsePeers("", c.Bootstrap); err != nil {
		t.Error(err)
	}
}
