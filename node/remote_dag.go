package node

import (
	"context"
	"fmt"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"golang.org/x/sync/errgroup"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// remoteParallel is how many blocks are asked for at a time.
const remoteParallel = 16

// remoteDAG is the DAG of another process's node. Kubo's client believes that
// node; remoteDAG checks every block against its CID.
type remoteDAG struct{ ipld.DAGService }

// Get returns the node c. Its error is of the class Corrupt if the bytes that
// came are those of another.
func (d *remoteDAG) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	node, err := d.DAGService.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	sum, err := c.Prefix().Sum(node.RawData())
	if err != nil {
		return nil, fmt.Errorf("check block %s: %w", c, err)
	}
	if !sum.Equals(c) {
		return nil, &image.Error{
			Class: image.Corrupt, Op: "read block " + c.String(),
			Err: fmt.Errorf("the node sent other bytes, of %s", sum), Hint: "check the IPFS node that --ipfs-address names",
		}
	}
	return node, nil
}

// GetMany is like Get for many, in the order in which they come.
func (d *remoteDAG) GetMany(ctx context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(cids))
	go func() {
		defer close(out)
		var group errgroup.Group
		group.SetLimit(remoteParallel)
		for _, c := range cids {
			group.Go(func() error {
				node, err := d.Get(ctx, c)
				out <- &ipld.NodeOption{Node: node, Err: err}
				return nil
			})
		}
		_ = group.Wait()
	}()
	return out
}
