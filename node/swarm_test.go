package node

import (
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/kubo/core"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfs-registry/ipfs-registry/image"
)

func TestBlockExchangeWithAPeer(t *testing.T) {
	a := startNode(t, loopback(t.TempDir()))
	root, leaves := addTree(t, a, "from a", "to b")
	b := startNode(t, loopback(t.TempDir(), address(t, a)))
	for _, c := range append(leaves, root) {
		if _, err := b.api.Dag().Get(within(t, patience), c); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := b.Peers(t.Context()); err != nil || len(got) != 1 || got[0].Inbound {
		t.Errorf("b's peers: %+v, %v", got, err)
	}
	if got, err := a.Peers(t.Context()); err != nil || len(got) != 1 || !got[0].Inbound || got[0].Address == "" {
		t.Errorf("a's peers: %+v, %v", got, err)
	}
}

// Without routing, nothing but the peering itself reconnects; it waits some ten
// seconds before it does.
func TestPeerIsReconnectedAfterItsRestart(t *testing.T) {
	o := loopback(t.TempDir())
	o.SwarmListen = []string{"/ip4/127.0.0.1/tcp/" + freePort(t)}
	b := startNode(t, o)

	repo := t.TempDir()
	setConfig(t, repo, "Routing.Type", "none")
	a := startNode(t, loopback(repo, address(t, b)))
	eventually(t, "a is connected to b", func() bool { return a.Ready(t.Context()) == nil })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a notices that b is gone", func() bool { return a.Ready(t.Context()) != nil })
	if err := a.Ready(t.Context()); !strings.Contains(err.Error(), "0 of 1 configured peers") {
		t.Errorf("%q does not say what it waits for", err)
	}
	startNode(t, o)
	eventually(t, "a is connected to b again", func() bool { return a.Ready(t.Context()) == nil })
}

// A peer of the local network that can't be reached when it is found is dialed
// again.
func TestPeerOfTheLocalNetworkIsDialedAgain(t *testing.T) {
	t.Parallel()
	o := loopback(t.TempDir())
	o.SwarmListen = []string{"/ip4/127.0.0.1/tcp/" + freePort(t)}
	b := startNode(t, o)
	found, err := peer.AddrInfoFromString(address(t, b))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	a := startNode(t, loopback(t.TempDir()))
	failed := make(chan struct{}, lanTries)
	log := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) { failed <- struct{}{}; return len(p), nil }),
		&slog.HandlerOptions{Level: slog.LevelDebug}))
	go lan{t.Context(), kuboOf(t, a).node.PeerHost, log}.HandlePeerFound(*found)
	<-failed
	startNode(t, o)
	eventually(t, "a is connected to b", func() bool {
		peers, err := a.Peers(t.Context())
		return err == nil && len(peers) == 1
	})
}

// freePort is one that a node can have again after its restart.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestReadyWithoutPeersToWaitFor(t *testing.T) {
	for name, o := range map[string]Options{"online": loopback(t.TempDir()), "offline": {RepoPath: t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			if err := startNode(t, o).Ready(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOfflineHasNoHost(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir(), Peers: []string{deadPeer}})
	if h := kuboOf(t, n).node.PeerHost; h != nil {
		t.Errorf("a libp2p host listens on %v", h.Addrs())
	}
	if id, addrs, err := n.ID(t.Context()); err != nil || id == "" || len(addrs) != 0 {
		t.Errorf("ID %q, %v, %v", id, addrs, err)
	}
	if peers, err := n.Peers(t.Context()); err != nil || len(peers) != 0 {
		t.Errorf("peers %v, %v", peers, err)
	}
	if err := n.Connect(t.Context(), deadPeer); err == nil || !strings.Contains(err.Error(), "--offline") {
		t.Errorf("connect: %v", err)
	}
}

// deadPeer is an address at which nobody listens.
const deadPeer = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"

func TestConnect(t *testing.T) {
	a, b := startNode(t, loopback(t.TempDir())), startNode(t, loopback(t.TempDir()))
	for range 2 {
		if err := a.Connect(t.Context(), address(t, b)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Connect(t.Context(), deadPeer); image.ClassOf(err) != image.Unavailable {
		t.Errorf("nobody there: %v", err)
	}
	if err := a.Connect(t.Context(), "localhost:4001"); image.ClassOf(err) != image.Malformed {
		t.Errorf("no multiaddr: %v", err)
	}
}

// Kubo waits 12 h for a part that does not stop. The busy node here has peers
// and a retrieval that goes on for ever.
func TestCloseIsQuick(t *testing.T) {
	a := startNode(t, loopback(t.TempDir()))
	b := startNode(t, loopback(t.TempDir(), address(t, a), deadPeer))
	eventually(t, "connected", func() bool { return b.Ready(t.Context()) == nil })
	waiting := make(chan error, 1)
	go func() {
		_, err := b.api.Dag().Get(t.Context(), absent("this"))
		waiting <- err
	}()
	start := time.Now()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Close took %s", took)
	}
	if err := <-waiting; err == nil {
		t.Error("got what nobody has")
	}
	if err := b.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestStartIsQuick(t *testing.T) {
	path := t.TempDir()
	if err := startNode(t, loopback(path)).Close(); err != nil {
		t.Fatal(err)
	}
	quickest := time.Hour
	for range 3 { // the machine may be busy
		start := time.Now()
		n := startNode(t, loopback(path))
		quickest = min(quickest, time.Since(start))
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if quickest > time.Second {
		t.Errorf("start took %s", quickest)
	}
}

// A node that talked to the public network remembers peers of it; apart from
// that network it must not fall back to them.
func TestIsolatedNodeForgetsPublicPeers(t *testing.T) {
	o := loopback(t.TempDir())
	first := startNode(t, o)
	ds := kuboOf(t, first).node.Repo.Datastore()
	if err := ds.Put(t.Context(), core.TempBootstrapPeersKey, []byte(`["`+deadPeer+`"]`)); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := startNode(t, o)
	if v, err := kuboOf(t, second).node.Repo.Datastore().Get(t.Context(), core.TempBootstrapPeersKey); err == nil {
		t.Errorf("remembers %s", v)
	}
}
