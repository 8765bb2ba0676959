package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipfs/kubo/client/rpc"
	"github.com/ipfs/kubo/core/coreiface/options"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// ErrNoDaemon is wrapped by Dial's error when no daemon runs on the repository.
var ErrNoDaemon = errors.New("no daemon runs on the repository")

// answerTimeout bounds the questions that a node answers at once.
const answerTimeout = 10 * time.Second

// remote is a node of another process, behind Kubo's RPC.
type remote struct {
	api    *rpc.HttpApi
	client *http.Client
	// ours says that the other process is our daemon, which can do more.
	ours bool
	// names is which names that move are resolved; our daemon decides itself.
	names string
}

// Attach uses the Kubo that runs elsewhere, by its RPC at addr, a multiaddr
// such as /ip4/127.0.0.1/tcp/5001. Its swarm, its settings and what it
// announces are its own: of o, only FirstGateway, Names, FetchTimeout, Log
// and Metrics count.
func Attach(ctx context.Context, addr string, o Options) (*Node, error) {
	op := "use the IPFS node at " + addr
	ma, network, address, err := parseRPCAddress(addr)
	if err != nil {
		return nil, malformed(op, err, "give a multiaddr such as /ip4/127.0.0.1/tcp/5001")
	}
	client := newClient(func(ctx context.Context, dialer *net.Dialer, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, address)
	})
	api, err := rpc.NewApiWithClient(ma, client)
	if network == "unix" {
		api, err = rpc.NewURLApiWithClient("http://unix", client)
	}
	if err != nil {
		return nil, malformed(op, err, "")
	}
	n, err := newRemoteNode(ctx, &remote{api: api, client: client, names: o.Names}, o)
	if err != nil {
		return nil, &image.Error{Class: image.Unavailable, Op: op, Err: err, Hint: "check that a Kubo daemon runs and that this is its RPC address"}
	}
	return n, nil
}

func parseRPCAddress(addr string) (ma multiaddr.Multiaddr, network, address string, err error) {
	ma, err = multiaddr.NewMultiaddr(addr)
	if err != nil {
		return nil, "", "", err
	}
	network, address, err = manet.DialArgs(ma)
	if err == nil && network != "unix" && !strings.HasPrefix(network, "tcp") {
		err = fmt.Errorf("no RPC over %s", network)
	}
	return ma, network, address, err
}

// Dial uses the node of our daemon that runs on the repository, by its control
// socket. Its error wraps [ErrNoDaemon] when none runs. Of o, only
// FirstGateway, FetchTimeout, Log and Metrics count.
func Dial(ctx context.Context, repoPath string, o Options) (*Node, error) {
	o.RepoPath = repoPath
	repoPath, err := o.repoPath()
	if err != nil {
		return nil, err
	}
	client := newClient(func(ctx context.Context, dialer *net.Dialer, _ string) (net.Conn, error) {
		return dialControl(ctx, dialer, repoPath)
	})
	api, err := rpc.NewURLApiWithClient("http://daemon", client)
	if err != nil {
		return nil, err
	}
	n, err := newRemoteNode(ctx, &remote{api: api, client: client, ours: true}, o)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		err = fmt.Errorf("%w: %w", ErrNoDaemon, err)
	}
	if err != nil {
		return nil, &image.Error{Class: image.Unavailable, Op: "talk to the daemon of " + repoPath, Err: err}
	}
	return n, nil
}

// newClient returns an HTTP client that keeps its connections: a DAG is many
// small requests.
func newClient(dial func(context.Context, *net.Dialer, string) (net.Conn, error)) *http.Client {
	dialer := &net.Dialer{Timeout: answerTimeout}
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return dial(ctx, dialer, addr)
		},
		MaxIdleConnsPerHost: remoteParallel,
		IdleConnTimeout:     time.Minute,
		TLSHandshakeTimeout: answerTimeout,
	}}
}

func newRemoteNode(ctx context.Context, r *remote, o Options) (*Node, error) {
	o.Peers, o.Bootstrap, o.SwarmListen, o.Provide = nil, nil, nil, ""
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	dag := &remoteDAG{r.api.Dag()}
	session := func(context.Context) ipld.NodeGetter { return dag }
	n := &Node{
		here:    newContent(nowhere{}, nil, newDisk(nil, o.Log), o.FetchTimeout),
		content: newContent(dag, session, newDisk(nil, o.Log), o.FetchTimeout),
		backing: r,
		api:     r.api,
		records: memoryRecords(),
		options: o,
	}
	if o.FirstGateway != "" {
		if err := r.askFirst(n.supply, o); err != nil {
			return nil, err
		}
	}
	return n, n.finish()
}

// Daemon returns a client of the control socket of our daemon, whose node n is;
// false if n is no other process's, or not one of ours.
func (n *Node) Daemon() (*http.Client, bool) {
	r, ok := n.backing.(*remote)
	if !ok || !r.ours {
		return nil, false
	}
	return r.client, true
}

func (r *remote) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return r.api.Request("version").Exec(ctx, nil)
}

// publish lets our daemon do it, with its own settings. Any other Kubo pins;
// with its default settings that announces too.
func (r *remote) publish(ctx context.Context, name string, root cid.Cid, parts []cid.Cid) error {
	if r.ours {
		return requestPublish(ctx, r.client, publication{Name: name, Root: root, Parts: parts})
	}
	for _, c := range append(parts[:len(parts):len(parts)], root) {
		if err := r.api.Pin().Add(ctx, path.FromCid(c), options.Pin.Name(name)); err != nil {
			return fmt.Errorf("pin %s: %w", c, err)
		}
	}
	return nil
}

func (r *remote) size(ctx context.Context) (uint64, error) {
	var stat struct{ RepoSize uint64 }
	err := r.api.Request("repo/stat").Option("size-only", true).Exec(ctx, &stat)
	return stat.RepoSize, err
}

func (r *remote) close() error {
	r.client.CloseIdleConnections()
	return nil
}
