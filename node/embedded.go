package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipns"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/core"
	"github.com/ipfs/kubo/core/node/libp2p"
	"github.com/ipfs/kubo/repo"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	apiFile        = "api"
	connectTimeout = 30 * time.Second
	// maxNames is of how many names that move the newest record is remembered.
	maxNames = 1024
)

// embedded is a Kubo node of this process.
type embedded struct {
	node    *core.IpfsNode
	repo    *overlaidRepo // that of node
	options Options
	private bool
	// gateways are those of the options, and newest the newest records of names
	// that were seen.
	gateways []*supplier
	newest   *lru.Cache[ipns.Name, []byte]
	// ctx ends, and background is waited for, when the node closes.
	ctx        context.Context
	cancel     context.CancelFunc
	background sync.WaitGroup
	collecting chan struct{} // has room for the one collection of garbage
}

func openEmbedded(ctx context.Context, o Options) (*embedded, error) {
	path, err := makeRepoDir(o)
	if err != nil {
		return nil, err
	}
	r, err := openRepo(path)
	if err != nil {
		return nil, err
	}
	// The lock is ours: whoever wrote the file is gone.
	_ = os.Remove(filepath.Join(path, apiFile))
	newest, err := lru.New[ipns.Name, []byte](maxNames)
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	e := &embedded{options: o, repo: newOverlaidRepo(r, o.SwarmKeyFile), newest: newest, collecting: make(chan struct{}, 1)}
	if e.repo.disk, err = e.openDisk(r); err != nil {
		_ = r.Close()
		return nil, err
	}
	e.repo.online = o.Online
	e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := e.start(ctx); err != nil {
		e.abandon()
		return nil, err
	}
	return e, nil
}

func (e *embedded) openDisk(r repo.Repo) (*disk, error) {
	path, err := leafPaths(r, e.denied)
	if err != nil {
		return nil, err
	}
	return newDisk(path, e.options.Log), nil
}

// abandon undoes a start that failed.
func (e *embedded) abandon() {
	e.cancel()
	e.background.Wait()
	if e.node != nil {
		_ = e.node.Close()
	}
	_ = e.repo.Close()
}

func (e *embedded) start(ctx context.Context) error {
	r := e.repo
	private, err := isPrivate(r, e.options)
	if err != nil {
		return err
	}
	e.private = private
	cfg, err := e.configure(r.Repo, private)
	if err != nil {
		return err
	}
	if err := forgetPeers(ctx, r.Datastore()); err != nil {
		return err
	}
	if err := e.startNode(cfg); err != nil {
		return err
	}
	if private && e.options.Online && e.node.PNetFingerprint == nil {
		return fmt.Errorf("refuse to run: the swarm of %s is not private, although it should be", r.Path())
	}
	if err := e.joinLAN(); err != nil {
		return err
	}
	return e.connectPeers(cfg)
}

// startNode starts Kubo at first without bootstrap peers: it would wait up to
// 10 s for them. It asks for them again in the course of its run.
func (e *embedded) startNode(cfg *config.Config) error {
	r := e.repo
	r.diskFull = e.options.DiskFull
	alone := *cfg
	alone.Bootstrap = nil
	r.config.Store(&alone)
	// The end of e.ctx must not stop the node: close does, in its order.
	node, err := core.NewNode(context.WithoutCancel(e.ctx), &core.BuildCfg{
		Repo:            r,
		Online:          e.options.Online,
		Routing:         routing(cfg),
		Host:            newHost,
		ShutdownTimeout: e.options.stopTimeout,
		ExtraOpts:       map[string]bool{"ipnsps": cfg.Ipns.UsePubsub.WithDefault(false)},
	})
	if err != nil {
		return startError(r.Path(), err)
	}
	r.config.Store(cfg)
	e.node = node
	return nil
}

// configure makes the configuration of this run.
func (e *embedded) configure(r repo.Repo, private bool) (*config.Config, error) {
	stored, err := r.Config()
	if err != nil {
		return nil, err
	}
	cfg, err := overlay(stored, e.options, private)
	if err != nil {
		return nil, err
	}
	if e.options.public(private) {
		return cfg, e.joinPublic(cfg, r.Path())
	}
	return cfg, checkIsolated(cfg, private, e.options.resolvers())
}

// routing is the switch of Kubo's daemon command from a setting to a router.
func routing(c *config.Config) libp2p.RoutingOption {
	switch c.Routing.Type.WithDefault("") {
	case "none":
		return libp2p.NilRouterOption
	case "dht":
		return libp2p.DHTOption
	case "dhtclient":
		return libp2p.DHTClientOption
	case "dhtserver":
		return libp2p.DHTServerOption
	case "auto":
		return libp2p.ConstructDefaultRouting(c, libp2p.DHTOption)
	case "delegated":
		return libp2p.ConstructDelegatedOnlyRouting(c)
	case "custom":
		return libp2p.ConstructDelegatedRouting(c.Routing.Routers, c.Routing.Methods, c.Identity.PeerID,
			c.Addresses, c.Identity.PrivKey, c.HTTPRetrieval.Enabled.WithDefault(config.DefaultHTTPRetrievalEnabled))
	}
	return libp2p.ConstructDefaultRouting(c, libp2p.DHTClientOption)
}

// connectPeers dials the configured peers at once, those to bootstrap by and
// those to keep connected. Kubo, which goes on with both, waits some seconds
// before its first attempt.
func (e *embedded) connectPeers(c *config.Config) error {
	if e.node.PeerHost == nil {
		return nil
	}
	bootstrap, err := parsePeers("Bootstrap", c.Bootstrap)
	if err != nil {
		return err
	}
	for _, p := range slices.Concat(c.Peering.Peers, bootstrap) {
		e.background.Go(func() {
			ctx, cancel := context.WithTimeout(e.ctx, connectTimeout)
			defer cancel()
			if err := e.node.PeerHost.Connect(ctx, p); err != nil && e.ctx.Err() == nil {
				e.options.Log.Warn("no connection to a configured peer yet, will keep trying", "peer", p.ID, "error", err)
			}
		})
	}
	return nil
}

// session returns a getter for the blocks of one DAG, which remembers the peers
// that had some.
func (e *embedded) session(ctx context.Context) ipld.NodeGetter {
	if e.node.PeerHost == nil {
		return denying{e.localDAG(), e.denied} // its exchange would ask us
	}
	return denying{merkledag.NewSession(ctx, e.node.DAG), e.denied}
}

// connect gives a content what the node has: its disk, its gateways and peers.
func (e *embedded) connect(c *content) error {
	s := c.supply
	http, err := gateways(e.options)
	if err != nil {
		return err
	}
	e.gateways = http
	s.log, s.denied, s.local, s.keep, s.trust = e.options.Log, e.denied, e.local, e.keep, e.repo.disk.trust
	s.sources = func() []*supplier { return http }
	if e.node.PeerHost == nil {
		e.repo.content.Store(c)
		return nil
	}
	named, err := parsePeers("--peer", e.options.Peers)
	if err != nil {
		return err
	}
	peers := newHTTPPeers(e.node.PeerHost, named)
	s.sources = func() []*supplier { return slices.Concat(peers.sources(), http) }
	s.spread = newSpread(e.node.Identity.String(), peers.sources)
	e.repo.content.Store(c)
	return e.servePeers(c)
}

// local finds a block on the disk. One that can't be decoded is left to others
// to find and to say so.
func (e *embedded) local(ctx context.Context, c cid.Cid) (ipld.Node, bool) {
	b, err := e.node.Blockstore.Get(ctx, c)
	if err != nil {
		return nil, false
	}
	nd, err := decode(b)
	return nd, err == nil
}

// keep stores a block and tells those who wait for it, peers included.
func (e *embedded) keep(ctx context.Context, b blocks.Block) error {
	if err := e.node.Blockstore.Put(ctx, b); err != nil {
		return err
	}
	e.repo.disk.trust(b.Cid())
	return e.node.Exchange.NotifyNewBlocks(ctx, b)
}

func (e *embedded) dag() ipld.DAGService {
	return denyingDAG{e.node.DAG, denying{e.node.DAG, e.denied}}
}

// close stops the node. The repository, its lock and the api file go with it.
func (e *embedded) close() error {
	e.cancel()
	e.background.Wait()
	if e.node.Bootstrapper != nil {
		_ = e.node.Bootstrapper.Close() // Kubo itself never does; it only cancels
	}
	switch err := e.node.Close(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		// Kubo then leaves all that it would have stopped after that part, and
		// the repository comes last.
		e.options.Log.Warn("gave up waiting for a part of the node to stop", "limit", e.options.stopTimeout)
		return e.repo.Close()
	default:
		return fmt.Errorf("stop the node: %w", err)
	}
}

func startError(repoPath string, err error) error {
	return &image.Error{
		Op: "start the node of " + repoPath, Err: err,
		Hint: "if an address is in use, give free ones with --swarm-listen",
	}
}
