package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/kubo/config"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// privateRepo is a repository with this swarm key.
func privateRepo(t *testing.T, key []byte) string {
	t.Helper()
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "swarm.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func swarmKey(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := GenerateSwarmKey(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPrivateSwarm(t *testing.T) {
	ours, theirs := swarmKey(t), swarmKey(t)
	private := func(key []byte, peers ...string) *Node {
		o := loopback(privateRepo(t, key), peers...)
		o.Private = true
		return startNode(t, o)
	}
	a := private(ours)
	root, _ := addTree(t, a, "for the swarm")

	b := private(ours, address(t, a))
	if _, err := b.api.Dag().Get(within(t, patience), root); err != nil {
		t.Errorf("a node with the same key: %v", err)
	}

	for name, outsider := range map[string]*Node{
		"another key": private(theirs),
		"no key":      startNode(t, loopback(t.TempDir())),
	} {
		t.Run(name, func(t *testing.T) {
			if err := outsider.Connect(within(t, 10*time.Second), address(t, a)); err == nil {
				t.Error("connected")
			}
			if _, err := outsider.api.Dag().Get(within(t, time.Second), root); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got an answer: %v", err)
			}
		})
	}
}

func TestPrivateFailsClosed(t *testing.T) {
	for name, test := range map[string]struct {
		path string
		edit func(*Options)
		want string
	}{
		"no key":               {t.TempDir(), nil, "no swarm.key"},
		"malformed key":        {privateRepo(t, []byte("/key/swarm/psk/1.0.0/\n/base16/\nabc\n")), nil, "malformed"},
		"empty key":            {privateRepo(t, nil), nil, "malformed"},
		"no encoding":          {privateRepo(t, []byte("/key/swarm/psk/1.0.0/\n"+strings.Repeat("5ec2e7", 11)+"\n")), nil, "malformed"},
		"a transport for none": {privateRepo(t, swarmKey(t)), func(o *Options) { o.SwarmListen = []string{"/ip4/127.0.0.1/udp/0/quic-v1"} }, "TCP only"},
	} {
		t.Run(name, func(t *testing.T) {
			o := loopback(test.path)
			o.Private = true
			if test.edit != nil {
				test.edit(&o)
			}
			n, err := Open(t.Context(), o)
			if err == nil {
				_ = n.Close()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q does not say %q", err, test.want)
			}
			if strings.Contains(err.Error(), "5ec2e7") {
				t.Errorf("%q shows the key", err)
			}
			if strings.Contains(test.want, "key") && !strings.Contains(err.Error(), "ipfs-registry swarm key") {
				t.Errorf("%q does not say what to type", err)
			}
			// What failed has given the repository up.
			startNode(t, Options{RepoPath: t.TempDir()})
			if err := checkFree(test.path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSwarmKeyAloneMakesPrivate(t *testing.T) {
	var logged bytes.Buffer
	o := loopback(privateRepo(t, swarmKey(t)))
	o.Bootstrap = nil // the public network's, if it were not private
	o.Log = slog.New(slog.NewTextHandler(&logged, nil))
	n := startNode(t, o)
	if kuboOf(t, n).node.PNetFingerprint == nil {
		t.Error("the swarm is not private")
	}
	cfg, err := kuboOf(t, n).node.Repo.Config()
	if err != nil {
		t.Fatal(err)
	}
	if err := checkIsolated(cfg, true, nil); err != nil {
		t.Error(err)
	}
	if !strings.Contains(logged.String(), "as if --private were given") {
		t.Errorf("logged %q", logged.String())
	}
}

// The key may lie outside of the repository, as a mounted secret does.
func TestSwarmKeyFile(t *testing.T) {
	key := filepath.Join(privateRepo(t, swarmKey(t)), "swarm.key")
	private := func(peers ...string) *Node {
		o := loopback(t.TempDir(), peers...)
		o.SwarmKeyFile = key
		return startNode(t, o)
	}
	a := private()
	root, _ := addTree(t, a, "for the swarm")
	b := private(address(t, a))
	if _, err := b.api.Dag().Get(within(t, patience), root); err != nil {
		t.Errorf("a node with the same file: %v", err)
	}
	if kuboOf(t, b).node.PNetFingerprint == nil {
		t.Error("the swarm is not private")
	}
	o := loopback(t.TempDir())
	o.SwarmKeyFile = key + "-not-there"
	if n, err := Open(t.Context(), o); err == nil {
		_ = n.Close()
		t.Error("started without the key that was named")
	}
}

// Each part of the recipe for a private swarm, taken out by itself, has to keep
// the node from starting.
func TestEveryPartOfTheRecipeIsChecked(t *testing.T) {
	for name, undo := range map[string]func(*config.Config){
		"AutoConf":                func(c *config.Config) { c.AutoConf.Enabled = config.Default },
		"bootstrap":               func(c *config.Config) { c.Bootstrap = []string{"auto"} },
		"DNS resolver":            func(c *config.Config) { c.DNS.Resolvers["."] = "https://dns.example/dns-query" },
		"resolver of eth.":        func(c *config.Config) { c.DNS.Resolvers = nil },
		"routing type":            func(c *config.Config) { c.Routing.Type = nil },
		"delegated routers":       func(c *config.Config) { c.Routing.DelegatedRouters = []string{"auto"} },
		"delegated publishers":    func(c *config.Config) { c.Ipns.DelegatedPublishers = []string{"auto"} },
		"AutoTLS":                 func(c *config.Config) { c.AutoTLS.Enabled = config.Default },
		"HTTP retrieval":          func(c *config.Config) { c.HTTPRetrieval.Enabled = config.Default },
		"relay client":            func(c *config.Config) { c.Swarm.RelayClient.Enabled = config.Default },
		"relay service":           func(c *config.Config) { c.Swarm.RelayService.Enabled = config.True },
		"NAT port mapping":        func(c *config.Config) { c.Swarm.DisableNatPortMap = false },
		"telemetry":               func(c *config.Config) { c.Plugins.Plugins = nil },
		"QUIC":                    func(c *config.Config) { c.Swarm.Transports.Network.QUIC = config.Default },
		"WebSocket":               func(c *config.Config) { c.Swarm.Transports.Network.Websocket = config.True },
		"WebTransport":            func(c *config.Config) { c.Swarm.Transports.Network.WebTransport = config.Default },
		"WebRTC":                  func(c *config.Config) { c.Swarm.Transports.Network.WebRTCDirect = config.Default },
		"listening on QUIC":       func(c *config.Config) { c.Addresses.Swarm = []string{"/ip4/0.0.0.0/udp/4001/quic-v1"} },
		"routers of one's making": func(c *config.Config) { c.Routing.Routers = config.Routers{"x": {}} },
	} {
		t.Run(name, func(t *testing.T) {
			c := defaultConfig(t)
			c, err := overlay(c, Options{Online: true, Private: true}, true)
			if err != nil {
				t.Fatal(err)
			}
			if err := checkIsolated(c, true, nil); err != nil {
				t.Fatalf("the whole recipe: %v", err)
			}
			undo(c)
			if err := checkIsolated(c, true, nil); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func defaultConfig(t *testing.T) *config.Config {
	t.Helper()
	c, err := config.InitWithIdentity(config.Identity{PeerID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A private node asks the gateways that are named, and is as private as ever.
func TestPrivateWithAGateway(t *testing.T) {
	st := memoryStore(t)
	root, data := bigShape().build(t, offlineContent(st).dag)
	o := loopback(privateRepo(t, swarmKey(t)))
	o.Private, o.Gateways, o.FetchTimeout = true, []string{serveGateway(t, honest(t, st))}, patience
	n := startNode(t, o)
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if kuboOf(t, n).node.PNetFingerprint == nil {
		t.Error("its swarm is not private")
	}
}
