package node

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ipfs/boxo/mfs"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Here is the content that is on the disk of an embedded node: opening and
// reading it asks no network. Of another process's node nothing is.
func (n *Node) Here() image.Source { return n.here }

// hereOnly is all's content without the network.
func (e *embedded) hereOnly(all *content) *content {
	dag := denyingDAG{e.localDAG(), denying{e.localDAG(), e.denied}}
	c := newContent(dag, nil, all.disk, all.fetchTimeout)
	c.supply.denied, c.supply.local = e.denied, e.local
	c.pages, c.opened = all.pages, all.opened
	return c
}

// Kept implements image.Keeper: what is kept is what was published on the node.
func (n *Node) Kept(ctx context.Context, before string) ([]image.Path, string, error) {
	return n.backing.kept(ctx, before)
}

func (e *embedded) kept(ctx context.Context, before string) (paths []image.Path, state string, err error) {
	found, err := mfs.Lookup(e.node.FilesRoot, publishedDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, "nothing", nil
	}
	if err != nil {
		return nil, "", err
	}
	nd, err := found.GetNode()
	if err != nil {
		return nil, "", err
	}
	if state = nd.Cid().String(); state == before {
		return nil, state, nil
	}
	dir, ok := found.(*mfs.Directory)
	if !ok {
		return nil, "", fmt.Errorf("%s is no directory", publishedDir)
	}
	err = dir.ForEachEntry(ctx, func(entry mfs.NodeListing) error {
		if c, err := cid.Decode(entry.Name); err == nil {
			paths = append(paths, image.Path{Root: c})
		}
		return nil
	})
	return paths, state, err
}

// kept is nothing: what another process's node keeps is that one's to say.
func (r *remote) kept(context.Context, string) ([]image.Path, string, error) {
	return nil, "nothing", nil
}

// nowhere has no blocks.
type nowhere struct{ ipld.DAGService }

func (nowhere) Get(_ context.Context, c cid.Cid) (ipld.Node, error) {
	return nil, ipld.ErrNotFound{Cid: c}
}

func (nowhere) GetMany(_ context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(cids))
	for _, c := range cids {
		out <- &ipld.NodeOption{Err: ipld.ErrNotFound{Cid: c}}
	}
	close(out)
	return out
}
