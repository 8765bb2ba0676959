package node

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/path"
	pinner "github.com/ipfs/boxo/pinning/pinner"
	"github.com/ipfs/go-cid"
	coreiface "github.com/ipfs/kubo/core/coreiface"
	"github.com/ipfs/kubo/core/coreiface/options"
	"github.com/ipfs/kubo/core/corerepo"
)

// publishEnv makes TestMain publish into a repository and die.
const publishEnv = "NODE_TEST_PUBLISH_AND_DIE"

func TestPublishedSurvivesGarbageCollection(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	root, leaves := addTree(t, n, "one", "two")
	part, partLeaves := addTree(t, n, "three")
	litter, _ := addTree(t, n, "litter")
	for range 2 { // repeating is harmless
		if err := n.Publish(t.Context(), "image", root, []cid.Cid{part}); err != nil {
			t.Fatal(err)
		}
	}
	e := kuboOf(t, n)
	if err := corerepo.GarbageCollect(e.node, t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := append(append([]cid.Cid{root, part}, leaves...), partLeaves...)
	for _, c := range kept {
		if has, err := e.node.Blockstore.Has(t.Context(), c); err != nil || !has {
			t.Errorf("%s was collected (%v)", c, err)
		}
	}
	if has, _ := e.node.Blockstore.Has(t.Context(), litter); has {
		t.Error("nothing was collected")
	}
	for _, c := range []cid.Cid{root, part} {
		if name := pinName(t, n, c); name != ownPins+"image" {
			t.Errorf("%s is pinned as %q", c, name)
		}
	}
}

// pinName is the name that c is pinned recursively by.
func pinName(t *testing.T, n *Node, c cid.Cid) string {
	t.Helper()
	pins, failed := make(chan coreiface.Pin), make(chan error, 1)
	go func() {
		failed <- n.api.Pin().Ls(t.Context(), pins, options.Pin.Ls.Recursive(), options.Pin.Ls.Detailed(true))
	}()
	name := "(not pinned)"
	for p := range pins {
		if p.Path().RootCid().Equals(c) {
			name = p.Name()
		}
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPublishOfWhatIsNotThereFails(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	err := n.Publish(within(t, 5*time.Second), "image", absent("root"), nil)
	if err == nil || !strings.Contains(err.Error(), absent("root").String()) {
		t.Fatalf("error %v", err)
	}
	_, pinned, err := kuboOf(t, n).node.Pinning.IsPinned(t.Context(), absent("root"))
	if err != nil || pinned {
		t.Errorf("pinned %v, %v", pinned, err)
	}
}

func TestPublishedSurvivesSIGKILL(t *testing.T) {
	repo := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), publishEnv+"="+repo)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("it was to be killed: %v", err)
	}
	root, err := cid.Decode(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(line, readErr, err)
	}
	n := startNode(t, Options{RepoPath: repo})
	how, pinned, err := kuboOf(t, n).node.Pinning.IsPinnedWithType(t.Context(), root, pinner.Recursive)
	if err != nil || !pinned {
		t.Errorf("pinned %v %q, %v", pinned, how, err)
	}
	if _, err := n.api.Dag().Get(t.Context(), root); err != nil {
		t.Error(err)
	}
	if err := n.Publish(t.Context(), "again", root, nil); err != nil {
		t.Error(err)
	}
}

func publishAndDie(repo string) error {
	ctx := context.Background()
	n, err := Open(ctx, Options{RepoPath: repo})
	if err != nil {
		return err
	}
	block := merkledag.NewRawNode([]byte("published just before"))
	if err := n.api.Dag().Add(ctx, block); err != nil {
		return err
	}
	if err := n.Publish(ctx, "image", block.Cid(), nil); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, block.Cid())
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// Three nodes in a DHT of their own: what one announces, another finds through
// the third.
func TestAnnouncesWhatTheSettingSays(t *testing.T) {
	for mode, want := range map[string]struct{ published, pinned bool }{
		ProvidePublished: {true, false},
		ProvidePinned:    {true, true},
		ProvideNone:      {false, false},
	} {
		t.Run(mode, func(t *testing.T) {
			hub := startNode(t, loopback(t.TempDir()))
			o := loopback(t.TempDir(), address(t, hub))
			o.Provide = mode
			n := startNode(t, o)
			asker := startNode(t, loopback(t.TempDir(), address(t, hub)))
			for _, n := range []*Node{n, asker} {
				eventually(t, "connected", func() bool { return n.Ready(t.Context()) == nil })
			}

			published, _ := addTree(t, n, "published "+mode)
			pinned, _ := addTree(t, n, "pinned "+mode)
			added, _ := addTree(t, n, "added "+mode)
			if err := n.api.Pin().Add(t.Context(), path.FromCid(pinned)); err != nil {
				t.Fatal(err)
			}
			if err := n.Publish(t.Context(), "image", published, nil); err != nil {
				t.Fatal(err)
			}
			if want.published {
				eventually(t, "the published root is found", func() bool { return found(t, asker, published) })
			}
			if want.pinned {
				eventually(t, "the pinned root is found", func() bool { return found(t, asker, pinned) })
			}
			// All were queued before the wait above ended, or never.
			if !want.published && found(t, asker, published) {
				t.Error("the published root was announced")
			}
			if !want.pinned && found(t, asker, pinned) {
				t.Error("the pinned root was announced")
			}
			if found(t, asker, added) {
				t.Error("what was only added was announced")
			}
		})
	}
}

// found reports whether the DHT knows a provider of c.
func found(t *testing.T, asker *Node, c cid.Cid) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	providers, err := asker.api.Routing().FindProviders(ctx, path.FromCid(c), options.Routing.NumProviders(1))
	if err != nil {
		t.Fatal(err)
	}
	for range providers {
		return true
	}
	return false
}
