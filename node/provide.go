package node

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/mfs"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipfs/kubo/config"
	"github.com/multiformats/go-multihash"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

// publishedDir is the directory of Kubo's file system (MFS) that remembers what
// was published on this node. It holds one directory for each root, named by
// its CID. Kubo's provide strategy "mfs" announces what it leads to.
const publishedDir = "/ipfs-registry/published"

// Publish makes root and parts, whose blocks are in the node already, durable:
// it writes them through to the disk, pins them recursively under name so that
// garbage collection keeps them, and announces them as the node's settings say,
// in the background and whether or not anybody is connected. parts are roots of
// DAGs that belong to root and that no link of it reaches.
//
// When Publish returns nil, a crash loses nothing. Repeating it is harmless.
func (n *Node) Publish(ctx context.Context, name string, root cid.Cid, parts []cid.Cid) error {
	if err := n.backing.publish(ctx, name, root, parts); err != nil {
		return &image.Error{Class: image.ClassOf(err), Op: "publish /ipfs/" + root.String(), Err: err}
	}
	return nil
}

func setProvide(c *config.Config, mode string) {
	switch mode {
	case ProvideNone:
		c.Provide.Enabled = config.False
	case ProvidePinned:
		c.Provide.Enabled = config.True
		c.Provide.Strategy = config.NewOptionalString("pinned+mfs")
	default:
		c.Provide.Enabled = config.True
		c.Provide.Strategy = config.NewOptionalString("mfs")
	}
}

// publish pins root last: as long as it is not pinned, the publishing has not
// happened, and what is pinned of it is what a repetition would pin.
func (e *embedded) publish(ctx context.Context, name string, root cid.Cid, parts []cid.Cid) error {
	all := []pin.Part{}
	for _, c := range append(parts[:len(parts):len(parts)], root) {
		all = append(all, pin.Part{CID: c, Mode: pin.Recursive})
	}
	defer e.repo.barrier.hold()()
	if err := e.pin(ctx, all, ownPins+name); err != nil {
		return err
	}
	if err := e.remember(ctx, root, parts); err != nil {
		return fmt.Errorf("remember as published: %w", err)
	}
	e.announce(true, append(parts[:len(parts):len(parts)], root))
	return nil
}

// localDAG finds nothing that is not here, and hence never waits.
func (e *embedded) localDAG() ipld.DAGService {
	bs := e.node.Blockstore
	return merkledag.NewDAGService(blockservice.New(bs, offline.Exchange(bs)))
}

// remember links root and parts into publishedDir.
func (e *embedded) remember(ctx context.Context, root cid.Cid, parts []cid.Cid) error {
	// Garbage collection takes its snapshot of MFS under the same lock.
	defer e.node.Blockstore.PinLock(ctx).Unlock(ctx)
	dir := publishedDir + "/" + root.String()
	if err := mfs.Mkdir(e.node.FilesRoot, dir, mfs.MkdirOpts{Mkparents: true}); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for _, c := range append(parts[:len(parts):len(parts)], root) {
		if err := e.link(ctx, dir+"/"+c.String(), c); err != nil {
			return err
		}
	}
	_, err := mfs.FlushPath(ctx, e.node.FilesRoot, publishedDir)
	return err
}

func (e *embedded) link(ctx context.Context, path string, c cid.Cid) error {
	if _, err := mfs.Lookup(e.node.FilesRoot, path); err == nil {
		return nil
	}
	node, err := e.localDAG().Get(ctx, c)
	if err != nil {
		return err
	}
	return mfs.PutNode(e.node.FilesRoot, path, node)
}

// announce hands roots to Kubo's provider, which queues them on disk and announces
// them when it can, those announced before too if again is set. Their inner blocks
// follow with MFS or with the pins.
func (e *embedded) announce(again bool, roots []cid.Cid) {
	if !e.node.IsOnline || e.options.Provide == ProvideNone || len(roots) == 0 {
		return
	}
	var keys []multihash.Multihash
	for _, c := range roots {
		keys = append(keys, c.Hash())
	}
	e.background.Go(func() {
		if err := e.node.Provider.StartProviding(again, keys...); err != nil {
			e.options.Log.Info("not announced yet: nobody to announce to", "root", roots[len(roots)-1], "error", err)
		}
	})
}

// announcePins announces what was pinned, if the settings say so: Kubo's pinner
// does so only of what it fetches itself.
func (e *embedded) announcePins(parts []pin.Part) {
	if e.options.Provide != ProvidePinned {
		return
	}
	var roots []cid.Cid
	for _, p := range parts {
		if p.Mode != pin.Covered {
			roots = append(roots, p.CID)
		}
	}
	e.announce(false, roots)
}
