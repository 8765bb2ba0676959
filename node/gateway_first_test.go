package node

import (
	"bytes"
	"net/http"
	"sync/atomic"
	"testing"

	blocks "github.com/ipfs/go-block-format"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// The gateway that a reference names is asked before a peer and a gateway of the
// settings that have it all, whoever runs the node.
func TestFirstGateway(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	data := randomBytes(7, 3<<20)
	p := image.Path{Root: addDir(t, seed, data)}.Join("blobs", "sha256", "x")
	var asked, other atomic.Int32
	served := honest(t, &store{Blockstore: kuboOf(t, seed).node.Blockstore})
	counting := func(n *atomic.Int32) string {
		return serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Error("it is sent the token of others")
			}
			n.Add(1)
			served.ServeHTTP(w, r)
		}))
	}
	first, second := counting(&asked), counting(&other)

	o := loopback(t.TempDir(), address(t, seed))
	o.FirstGateway, o.Gateways = first, []string{second}
	embedded := startNode(t, o)
	eventually(t, "the peer is there", func() bool { peers, err := embedded.Peers(t.Context()); return err == nil && len(peers) > 0 })

	repo := t.TempDir()
	daemon := startNode(t, Options{RepoPath: repo})
	serveControl(t, daemon)
	dialed, err := Dial(t.Context(), repo, Options{FirstGateway: first})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dialed.Close() }()
	for name, n := range map[string]*Node{"embedded": embedded, "through a daemon": dialed} {
		asked.Store(0)
		if got, err := readCold(t, n, p); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%s: read %d bytes, %v", name, len(got), err)
		}
		if asked.Load() == 0 || other.Load() != 0 {
			t.Errorf("%s: the gateway was asked %d times, the other %d times", name, asked.Load(), other.Load())
		}
	}
	if got, err := readCold(t, daemon, p); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the daemon does not have what came: %d bytes, %v", len(got), err)
	}
}

// What a verb asks of a daemon that has only gateways comes from these, and so
// does what other programs ask of its RPC.
func TestGatewaysOfADaemon(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	data := randomBytes(8, 3<<20)
	root := addDir(t, seed, data)
	gateway := serveGateway(t, honest(t, &store{Blockstore: kuboOf(t, seed).node.Blockstore}))

	repo := t.TempDir()
	daemon := startNode(t, Options{RepoPath: repo, Gateways: []string{gateway}})
	serveControl(t, daemon)
	verb, err := Dial(t.Context(), repo, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = verb.Close() }()
	p := image.Path{Root: root}.Join("blobs", "sha256", "x")
	if got, err := readCold(t, verb, p); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("a verb read %d bytes, %v", len(got), err)
	}
	absent := blocks.NewBlock([]byte("nobody has it")).Cid()
	if _, err := readCold(t, verb, image.Path{Root: absent}); image.ClassOf(err) != image.Unavailable {
		t.Errorf("what no gateway has ended in %v", err)
	}
}
