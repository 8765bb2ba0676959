package node

import (
	"testing"

	pinner "github.com/ipfs/boxo/pinning/pinner"
	"github.com/ipfs/go-cid"

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
