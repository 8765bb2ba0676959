package node

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// patience bounds every wait of the tests for something that has to happen.
const patience = 60 * time.Second

// loopback are the options of a node that talks to nobody but those it is told
// of, over loopback.
func loopback(repoPath string, peers ...string) Options {
	return Options{
		RepoPath: repoPath, Online: true, Bootstrap: []string{NoBootstrap},
		SwarmListen: []string{"/ip4/127.0.0.1/tcp/0"}, Peers: peers,
	}
}

// starting keeps tests in parallel from starting nodes at the same time: Kubo
// sets globals of the process when it starts one.
var starting sync.Mutex

// startNode opens a node that is closed with the test.
func startNode(t testing.TB, o Options) *Node {
	t.Helper()
	if testing.Verbose() && o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	starting.Lock()
	n, err := Open(t.Context(), o)
	starting.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// kuboOf is the Kubo node inside n.
func kuboOf(t *testing.T, n *Node) *embedded {
	t.Helper()
	e, ok := n.backing.(*embedded)
	if !ok {
		t.Fatalf("%T is not an embedded node", n.backing)
	}
	return e
}

// address is one that another node can name as a peer.
func address(t *testing.T, n *Node) string {
	t.Helper()
	_, addrs, err := n.ID(t.Context())
	if err != nil || len(addrs) == 0 {
		t.Fatalf("addresses %v, error %v", addrs, err)
	}
	return addrs[0]
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline, again := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
	}
}

// addTree adds a two-level DAG and returns its root and its leaves.
func addTree(t *testing.T, n *Node, leaves ...string) (root cid.Cid, all []cid.Cid) {
	t.Helper()
	parent := &merkledag.ProtoNode{}
	if err := parent.SetCidBuilder(cid.V1Builder{Codec: cid.DagProtobuf, MhType: multihash.SHA2_256}); err != nil {
		t.Fatal(err)
	}
	for _, s := range leaves {
		leaf := merkledag.NewRawNode([]byte(s))
		if err := n.api.Dag().Add(t.Context(), leaf); err != nil {
			t.Fatal(err)
		}
		if err := parent.AddNodeLink(s, leaf); err != nil {
			t.Fatal(err)
		}
		all = append(all, leaf.Cid())
	}
	if err := n.api.Dag().Add(t.Context(), parent); err != nil {
		t.Fatal(err)
	}
	return parent.Cid(), all
}

// absent is the CID of a block that nobody has.
func absent(s string) cid.Cid { return merkledag.NewRawNode([]byte("nobody has " + s)).Cid() }

// within is a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// canceled is a context that has ended.
func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
