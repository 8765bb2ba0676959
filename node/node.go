package node

import (
	"context"
	"fmt"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/ipfs/kubo/core/coreapi"
	coreiface "github.com/ipfs/kubo/core/coreiface"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Node is an IPFS node: an embedded one, made by [Open], or one of another
// process, made by [Attach] or [Dial]. The methods of both are the same, but
// those that serve HTTP, and those about what is on the disk (pins, proofs,
// garbage, usage), need the embedded one and refuse otherwise.
//
// It fulfils image.Source, image.NameSystem, image.Keeper, image.Prefetcher,
// pin.Blocks and publish.Sink. It is safe for concurrent use.
type Node struct {
	*content
	backing backing
	// here is the content that is on the disk.
	here    *content
	api     coreiface.CoreAPI
	records datastore.Batching
	options Options
	close   func() error
}

// backing is what an embedded node and one of another process do differently.
type backing interface {
	publish(ctx context.Context, name string, root cid.Cid, parts []cid.Cid) error
	resolveName(ctx context.Context, name string) (image.Pointer, error)
	// kept is what Kept returns.
	kept(ctx context.Context, before string) ([]image.Path, string, error)
	publishName(ctx context.Context, r NameRecord) (NamePublished, error)
	// size is how many bytes the blocks take on the disk.
	size(ctx context.Context) (uint64, error)
	ready(ctx context.Context) error
	close() error
}

// Open starts an embedded node in its own repository, which is created on first
// use. Its error wraps [ErrInUse] when the repository is open already. ctx
// bounds nothing but the start; the caller closes the Node.
func Open(ctx context.Context, o Options) (*Node, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	e, err := openEmbedded(ctx, o)
	if err != nil {
		return nil, err
	}
	n, err := newEmbeddedNode(e)
	if err != nil {
		_ = e.close()
		return nil, err
	}
	return n, nil
}

func newEmbeddedNode(e *embedded) (*Node, error) {
	api, err := coreapi.NewCoreAPI(e.node)
	if err != nil {
		return nil, fmt.Errorf("start the node: %w", err)
	}
	c := newContent(e.dag(), e.session, e.repo.disk, e.options.FetchTimeout)
	if err := e.connect(c); err != nil {
		return nil, err
	}
	n := &Node{
		content: c,
		backing: e,
		here:    e.hereOnly(c),
		api:     api,
		records: ownRecords(e.node.Repo.Datastore()),
		options: e.options,
	}
	return n, n.finish()
}

// finish is the last step of making any Node.
func (n *Node) finish() error {
	unregister, err := registerMetrics(n)
	if err != nil {
		return err
	}
	n.close = sync.OnceValue(func() error {
		unregister()
		n.prefetches.stop()
		return n.backing.close()
	})
	return nil
}

// Close stops the node and gives its repository up, within seconds. A node of
// another process keeps running. Closing twice is harmless.
func (n *Node) Close() error { return n.close() }

// Datastore is where records of our own are kept beside the node's: a namespace
// of the embedded node's repository, or memory when the node is another
// process's. It must not be used after Close.
func (n *Node) Datastore() datastore.Datastore { return n.records }
