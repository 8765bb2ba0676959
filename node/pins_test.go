package node

import (
	"context"
	"testing"

	pinner "github.com/ipfs/boxo/pinning/pinner"
	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/pin"
	"github.com/ipfs-registry/ipfs-registry/pin/pintest"
)

// filledNode is a node with content put straight into it.
type filledNode struct {
	*Node
	put filled
}

func (f filledNode) AddFile(data []byte) cid.Cid               { return f.put.AddFile(data) }
func (f filledNode) AddDir(entries map[string]cid.Cid) cid.Cid { return f.put.AddDir(entries) }

func TestKeepsTheContractOfBlocks(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	kubo := kuboOf(t, n).node
	absent := cid.NewCidV1(cid.Raw, testHash(t, []byte("nobody has this")))
	pintest.TestBlocks(t, filledNode{n, filled{n.content, t}}, func(c cid.Cid) {
		if err := kubo.Pinning.PinWithMode(t.Context(), c, pinner.Recursive, "theirs"); err != nil {
			t.Fatal(err)
		}
	}, absent)
}

func TestKeepsTheContractOfStore(t *testing.T) {
	pintest.TestStore(t, startNode(t, Options{RepoPath: t.TempDir()}).Records())
}

// An addition that never comes to its end holds back no collection, which leaves
// alone what has come for it.
func TestCollectBesideAnEndlessAddition(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	f, comes := filledNode{n, filled{n.content, t}}, []byte("a layer that comes")
	for _, name := range []string{"new", "kept in part"} {
		t.Run(name, func(t *testing.T) {
			b, never := imagetest.Blobs{}, []byte("a layer that never comes, "+name)
			amd, arm := b.Image("amd64", comes), b.Image("arm64", comes, never)
			root := image.Path{Root: b.Layout(f, nil, imagetest.Tagged(b.Index(amd, arm), "v1"))}
			lack(t, n, image.Path{Root: root.Root, Rest: "blobs/sha256/" + digest.FromBytes(never).Encoded()})
			waiting := endlessBlob{image.NewResolver(n, n.Datastore(), image.ResolverOptions{}), digest.FromBytes(never), make(chan struct{}, 1)}
			k := pin.New(waiting, n, n.Records(), pin.Options{})
			if name != "new" {
				if _, err := k.Add(t.Context(), pin.Request{Path: root, Manifests: []digest.Digest{amd.Digest}, Pulled: true}, nil); err != nil {
					t.Fatal(err)
				}
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := k.Add(ctx, pin.Request{Path: root, Manifests: []digest.Digest{arm.Digest}, Pulled: true}, nil)
				ended <- err
			}()
			<-waiting.asked
			nobodys := f.AddFile([]byte("nobody needs this, " + name))
			if freed, err := k.Collect(t.Context(), false); err != nil || freed.Blocks == 0 {
				t.Errorf("freed %+v, %v", freed, err)
			}
			if has(t, n, nobodys) {
				t.Error("what nobody needs is still here")
			}
			for _, needed := range []digest.Digest{arm.Digest, digest.FromBytes(comes)} {
				c := steps(t, n, image.Path{Root: root.Root, Rest: "blobs/sha256/" + needed.Encoded()})
				if !has(t, n, c) {
					t.Errorf("%s was removed", needed)
				}
			}
			stop()
			if err := <-ended; err == nil {
				t.Error("the addition came to an end")
			}
			if err := k.Remove(t.Context(), root); err != nil {
				t.Error(err)
			}
		})
	}
}

// endlessBlob waits for one of the blobs for ever.
type endlessBlob struct {
	*image.Resolver
	blob  digest.Digest
	asked chan struct{}
}

func (e endlessBlob) Blob(ctx context.Context, p image.Path, d digest.Digest) (*image.Content, error) {
	if d != e.blob {
		return e.Resolver.Blob(ctx, p, d)
	}
	e.asked <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// steps returns the CID that a path leads to.
func steps(t *testing.T, n *Node, p image.Path) cid.Cid {
	t.Helper()
	all, err := n.Steps(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return all[len(all)-1]
}

// lack removes a block that a path leads to.
func lack(t *testing.T, n *Node, p image.Path) {
	t.Helper()
	if err := kuboOf(t, n).node.Blockstore.DeleteBlock(t.Context(), steps(t, n, p)); err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, n *Node, c cid.Cid) bool {
	t.Helper()
	here, err := kuboOf(t, n).node.Blockstore.Has(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return here
}
