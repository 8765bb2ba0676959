package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/mfs"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// serveControl serves the control socket of n, as the daemon does.
func serveControl(t *testing.T, n *Node) {
	t.Helper()
	l, err := n.ListenControl()
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: n.ControlHandler(), ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// deepRepo is a repository whose socket's path is longer than a socket's may be.
func deepRepo(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), strings.Repeat("deep", 20), strings.Repeat("down", 20))
}

func TestDial(t *testing.T) {
	for name, path := range map[string]string{"repository": t.TempDir(), "deep repository": deepRepo(t)} {
		t.Run(name, func(t *testing.T) {
			daemon := startNode(t, loopback(path))
			serveControl(t, daemon)
			info, err := os.Stat(filepath.Join(path, "control.sock"))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("socket %v, %v", info, err)
			}
			if left, _ := filepath.Glob(filepath.Join(path, ".control-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			n, err := Dial(t.Context(), path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			useRemote(t, n, daemon)
			for _, c := range kuboOf(t, daemon).publishedRoots(t) {
				if pinName(t, daemon, c) != ownPins+"by remote" {
					t.Errorf("%s is not pinned by the daemon", c)
				}
			}
			if len(kuboOf(t, daemon).publishedRoots(t)) != 1 {
				t.Error("the daemon does not remember what was published")
			}
		})
	}
}

// useRemote tries what a node of another process can do.
func useRemote(t *testing.T, n, behind *Node) {
	t.Helper()
	id, addrs, err := n.ID(t.Context())
	wantID, wantAddrs, _ := behind.ID(t.Context())
	if err != nil || id != wantID || fmt.Sprint(addrs) != fmt.Sprint(wantAddrs) {
		t.Errorf("ID %s %v, %v; want %s %v", id, addrs, err, wantID, wantAddrs)
	}
	root, leaves := addTree(t, n, "added", "from afar")
	for _, c := range append(leaves, root) {
		if has, err := kuboOf(t, behind).node.Blockstore.Has(t.Context(), c); err != nil || !has {
			t.Errorf("%s is not there (%v)", c, err)
		}
	}
	part, _ := addTree(t, n, "part")
	if err := n.Publish(t.Context(), "by remote", root, []cid.Cid{part}); err != nil {
		t.Error(err)
	}
	for _, c := range []cid.Cid{root, part} {
		if got := pinName(t, behind, c); strings.TrimPrefix(got, ownPins) != "by remote" {
			t.Errorf("pinned as %q", got)
		}
	}
	if err := n.Publish(t.Context(), "x", absent("root"), nil); err == nil && n.backing.(*remote).ours {
		t.Error("published what is not there")
	}
	other := startNode(t, loopback(t.TempDir()))
	if err := n.Connect(t.Context(), address(t, other)); err != nil {
		t.Error(err)
	}
	if peers, err := n.Peers(t.Context()); err != nil || len(peers) != 1 {
		t.Errorf("peers %v, %v", peers, err)
	}
	if err := n.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if size, err := n.backing.size(t.Context()); err != nil || size == 0 {
		t.Errorf("size %d, %v", size, err)
	}
	if err := n.WriteAPIFile(&net.TCPAddr{}); !errors.Is(err, errNotEmbedded) {
		t.Errorf("api file: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func (e *embedded) publishedRoots(t *testing.T) (roots []cid.Cid) {
	t.Helper()
	node, err := mfs.Lookup(e.node.FilesRoot, publishedDir)
	if err != nil {
		t.Fatal(err)
	}
	names, err := node.(*mfs.Directory).ListNames(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		roots = append(roots, cid.MustParse(name))
	}
	return roots
}

func TestAttach(t *testing.T) {
	kubo := startNode(t, loopback(t.TempDir()))
	// Kubo's RPC without anything of ours, as any Kubo daemon serves it.
	server := httptest.NewServer(kuboOf(t, kubo).kuboRPC())
	defer server.Close()
	ma, err := manet.FromNetAddr(server.Listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	n, err := Attach(t.Context(), ma.String(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	part := absent("part")
	if err := n.Publish(within(t, 2*time.Second), "x", part, nil); err == nil {
		t.Error("published what nobody has")
	}
	useAttached(t, n, kubo)
}

func useAttached(t *testing.T, n, behind *Node) {
	t.Helper()
	n.backing.(*remote).ours = false
	root, _ := addTree(t, n, "attached")
	if err := n.Publish(t.Context(), "attached", root, nil); err != nil {
		t.Fatal(err)
	}
	if got := pinName(t, behind, root); got != "attached" {
		t.Errorf("pinned as %q", got)
	}
	if err := n.Datastore().Put(t.Context(), datastore.NewKey("k"), []byte("v")); err != nil {
		t.Error(err)
	}
	status := httptest.NewRecorder()
	n.ControlHandler().ServeHTTP(status, httptest.NewRequest(http.MethodPost, "/api/v0/id", nil))
	if status.Code != http.StatusNotFound {
		t.Errorf("control of another's node: %d", status.Code)
	}
}

func TestAttachToNothing(t *testing.T) {
	for addr, want := range map[string]image.Class{
		"/ip4/127.0.0.1/tcp/1":           image.Unavailable,
		"/unix" + "/nowhere/kubo.socket": image.Unavailable,
		"localhost:5001":                 image.Malformed,
		"/ip4/127.0.0.1":                 image.Malformed,
	} {
		if _, err := Attach(t.Context(), addr, Options{}); image.ClassOf(err) != want {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestDialWithoutDaemon(t *testing.T) {
	t.Run("never ran", func(t *testing.T) {
		if _, err := Dial(t.Context(), t.TempDir(), Options{}); !errors.Is(err, ErrNoDaemon) {
			t.Error(err)
		}
	})
	t.Run("no repository", func(t *testing.T) {
		if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "no", "where"), Options{}); !errors.Is(err, ErrNoDaemon) {
			t.Error(err)
		}
	})
	t.Run("crashed", func(t *testing.T) {
		path := t.TempDir()
		staleSocket(t, path)
		if _, err := Dial(t.Context(), path, Options{}); !errors.Is(err, ErrNoDaemon) {
			t.Error(err)
		}
		daemon := startNode(t, Options{RepoPath: path})
		serveControl(t, daemon)
		n, err := Dial(t.Context(), path, Options{})
		if err != nil {
			t.Fatal("after its restart:", err)
		}
		_ = n.Close()
	})
}

// staleSocket leaves the socket of a daemon that was killed.
func staleSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(path, controlSocket), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
}

func TestControlSocketGoesWithItsListener(t *testing.T) {
	path := t.TempDir()
	l, err := startNode(t, Options{RepoPath: path}).ListenControl()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(path, controlSocket)); err == nil {
		t.Error("still there")
	}
}

// Kubo's commands that end its daemon must not end ours behind its back.
func TestControlSurvivesShutdown(t *testing.T) {
	path := t.TempDir()
	daemon := startNode(t, Options{RepoPath: path})
	serveControl(t, daemon)
	n, err := Dial(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	r := n.backing.(*remote)
	for _, command := range []string{"shutdown", "daemon", "init", "diag/sys"} {
		_ = r.api.Request(command).Exec(t.Context(), nil)
	}
	if err := n.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := daemon.api.Dag().Get(t.Context(), absent("x")); err == nil || strings.Contains(err.Error(), "closed") {
		t.Error(err)
	}
}

func TestControlRefusesBrowsersAndNonsense(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	for name, req := range map[string]*http.Request{
		"browser":        httptest.NewRequest(http.MethodPost, "/api/v0/id", nil),
		"no publication": httptest.NewRequest(http.MethodPost, publishPath, strings.NewReader("{")),
		"no root":        httptest.NewRequest(http.MethodPost, publishPath, strings.NewReader(`{"name":"x"}`)),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "browser" {
				req.Header.Set("Origin", "http://localhost:5001")
			}
			w := httptest.NewRecorder()
			n.ControlHandler().ServeHTTP(w, req)
			if w.Code/100 != 4 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

// A node behind an RPC could send anything; its blocks are checked here.
func TestRemoteBlocksAreVerified(t *testing.T) {
	lying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/block/get") {
			_, _ = w.Write([]byte("other bytes"))
			return
		}
		_, _ = w.Write([]byte("{}"))
	}))
	defer lying.Close()
	ma, err := manet.FromNetAddr(lying.Listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	n, err := Attach(t.Context(), ma.String(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	dag := &remoteDAG{n.api.Dag()}
	if _, err := dag.Get(t.Context(), absent("x")); image.ClassOf(err) != image.Corrupt {
		t.Errorf("Get: %v", err)
	}
	count := 0
	for option := range dag.GetMany(t.Context(), []cid.Cid{absent("x"), absent("y")}) {
		count++
		if image.ClassOf(option.Err) != image.Corrupt {
			t.Errorf("GetMany: %v", option.Err)
		}
	}
	if count != 2 {
		t.Errorf("%d of 2 answered", count)
	}
}

func TestAttachGivesUpOnASilentNode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ma, err := manet.FromNetAddr(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := Attach(ctx, ma.String(), Options{}); image.ClassOf(err) != image.Unavailable {
		t.Error(err)
	}
}
