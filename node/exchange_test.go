package node

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

var (
	_ image.Source = (*Node)(nil)
	_ publish.Sink = (*Node)(nil)
)

// randomBytes are the same for the same seed.
func randomBytes(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// addDir adds a directory of one file, published, and returns its CID.
func addDir(t *testing.T, n *Node, data []byte) cid.Cid {
	t.Helper()
	file, err := n.AddFile(t.Context(), bytes.NewReader(data), publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := n.AddDir(t.Context(), map[string]cid.Cid{"blobs/sha256/x": file}, publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Publish(t.Context(), "image", dir, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

func readPath(t *testing.T, n *Node, p image.Path) []byte {
	t.Helper()
	f, err := n.Open(within(t, patience), p)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	got, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestContentTravels(t *testing.T) {
	data := randomBytes(1, 5<<20+123)
	repo := t.TempDir()
	a := startNode(t, loopback(repo))
	p := image.Path{Root: addDir(t, a, data)}.Join("blobs", "sha256", "x")

	t.Run("to a peer", func(t *testing.T) {
		b := startNode(t, loopback(t.TempDir(), address(t, a)))
		for range 2 { // from the peer, then from its own disk
			if !bytes.Equal(readPath(t, b, p), data) {
				t.Error("other bytes")
			}
		}
	})
	t.Run("through the control socket, both ways", func(t *testing.T) {
		serveControl(t, a)
		n, err := Dial(t.Context(), repo, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = n.Close() }()
		if !bytes.Equal(readPath(t, n, p), data) {
			t.Error("other bytes from the daemon")
		}
		more := randomBytes(2, 3<<20)
		root := addDir(t, n, more)
		if !bytes.Equal(readPath(t, a, image.Path{Root: root}.Join("blobs/sha256/x")), more) {
			t.Error("other bytes in the daemon")
		}
	})
	t.Run("not to one that knows nobody", func(t *testing.T) {
		for name, o := range map[string]Options{
			"offline": {RepoPath: filepath.Join(t.TempDir(), "o")},
			"alone":   loopback(filepath.Join(t.TempDir(), "n")),
		} {
			o.FetchTimeout = time.Second
			f, err := startNode(t, o).Open(within(t, patience), p)
			if err == nil {
				_ = f.Close()
			}
			if image.ClassOf(err) != image.Unavailable {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestPrivateSwarmExchangesFiles(t *testing.T) {
	key := swarmKey(t)
	node := func(peers ...string) *Node {
		o := loopback(privateRepo(t, key), peers...)
		o.Private = true
		return startNode(t, o)
	}
	data := randomBytes(3, 2<<20)
	a := node()
	root := addDir(t, a, data)
	if got := readPath(t, node(address(t, a)), image.Path{Root: root}.Join("blobs/sha256/x")); !bytes.Equal(got, data) {
		t.Error("other bytes")
	}
}

// Close ends what goes on, and what is asked afterwards fails at once.
func TestOpenAfterClose(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	addDir(t, n, []byte("x"))
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	f, err := n.Open(within(t, patience), image.Path{Root: absent("that")})
	if err == nil {
		_ = f.Close()
		t.Error("opened")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

// late is a getter that tells of most leaves later than it has stored them.
type late struct {
	ipld.NodeGetter
	first cid.Cid // the leaf that it tells of at once
}

func (l late) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	nd, err := l.NodeGetter.Get(ctx, c)
	l.hold(ctx, c)
	return nd, err
}

func (l late) GetMany(ctx context.Context, all []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(all))
	go func() {
		defer close(out)
		for o := range l.NodeGetter.GetMany(ctx, all) {
			if o.Node != nil {
				l.hold(ctx, o.Node.Cid())
			}
			out <- o
		}
	}()
	return out
}

// hold returns when nobody waits for a leaf any more.
func (l late) hold(ctx context.Context, c cid.Cid) {
	if c.Type() == cid.Raw && c != l.first {
		<-ctx.Done()
	}
}

// What the exchange has stored counts, also if the reader saw it on the disk and
// was gone before the exchange told of it.
func TestWhatTheExchangeBroughtCounts(t *testing.T) {
	const leaves = 4
	seed, data := startNode(t, loopback(t.TempDir())), randomBytes(4, leaves<<20)
	root := addFile(t, seed, data)
	top, err := seed.dag.Get(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	n := startNode(t, loopback(t.TempDir(), address(t, seed)))
	n.supply.sources = func() []*supplier { return nil }
	session := n.supply.session
	n.supply.session = func(ctx context.Context) ipld.NodeGetter { return late{session(ctx), top.Links()[0].Cid} }
	f, err := n.Open(within(t, patience), image.Path{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	if _, err := f.Read(got[:1]); err != nil {
		t.Fatal(err)
	}
	for _, leaf := range top.Links() {
		eventually(t, "it is stored", func() bool { return n.content.disk.here(leaf.Cid) })
	}
	if _, err := io.ReadFull(f, got[1:]); err != nil || !bytes.Equal(got, data) {
		t.Error("other bytes", err)
	}
	_ = f.Close()
	eventually(t, "all are counted", func() bool { return blocksFrom(n, exchangeLabel) == leaves+1 })
}

// What the exchange has verified and stored is not hashed when it is read.
func TestWhatTheExchangeStoredIsProven(t *testing.T) {
	seed, data := startNode(t, loopback(t.TempDir())), randomBytes(5, 1<<20)
	leaf := addFile(t, seed, data)
	n := startNode(t, loopback(t.TempDir(), address(t, seed)))
	n.supply.sources = func() []*supplier { return nil }
	from := follower{n.supply, n.supply.follow(leaf)}
	defer from.close()
	if err := from.fetch(within(t, patience), single(leaf), func(ipld.Node) {}); err != nil {
		t.Fatal(err)
	}
	if !n.content.disk.proven(leaf, int64(len(data))) {
		t.Error("it is to be hashed again")
	}
}
