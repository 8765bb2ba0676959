package node

import (
	"context"
	"fmt"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// denied returns an error of the class Denied if a denylist names c.
func (e *embedded) denied(c cid.Cid) error {
	if e.repo.blocker == nil {
		return nil
	}
	status := e.repo.blocker.IsCidBlocked(c)
	if status.ToError() == nil {
		return nil
	}
	return &image.Error{
		Class: image.Denied, Op: "read block " + c.String(),
		Err: fmt.Errorf("it is named by the denylist %s", status.Filename),
	}
}

// blocked is denied in the words of Kubo, which boxo's gateway makes a 410 of and
// which name no list: that is no business of peers.
func (e *embedded) blocked(c cid.Cid) error {
	if e.repo.blocker == nil {
		return nil
	}
	if err := e.repo.blocker.IsCidBlocked(c).ToError(); err != nil {
		return err
	}
	return nil
}

// deniedPath returns an error of the class Denied if a denylist names p.
func (e *embedded) deniedPath(p path.Path) error {
	if e.repo.blocker == nil {
		return nil
	}
	status := e.repo.blocker.IsPathBlocked(p)
	if status.ToError() == nil {
		return nil
	}
	return &image.Error{
		Class: image.Denied, Op: "resolve " + p.String(),
		Err: fmt.Errorf("it is named by the denylist %s", status.Filename),
	}
}

// denying hands out no block that is denied.
type denying struct {
	ipld.NodeGetter
	denied func(cid.Cid) error
}

func (d denying) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	if err := d.denied(c); err != nil {
		return nil, err
	}
	return d.NodeGetter.Get(ctx, c)
}

func (d denying) GetMany(ctx context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	for _, c := range cids {
		if err := d.denied(c); err != nil {
			failed := make(chan *ipld.NodeOption, 1)
			failed <- &ipld.NodeOption{Err: err}
			close(failed)
			return failed
		}
	}
	return d.NodeGetter.GetMany(ctx, cids)
}

// denyingDAG is a DAG that reads by a denying getter.
type denyingDAG struct {
	ipld.DAGService
	getter denying
}

func (d denyingDAG) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	return d.getter.Get(ctx, c)
}

func (d denyingDAG) GetMany(ctx context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	return d.getter.GetMany(ctx, cids)
}
