package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/node"
)

// nodeOptions are the settings as the node takes them.
func nodeOptions(s *config.Settings, log *slog.Logger) node.Options {
	return node.Options{
		RepoPath:    s.Repo,
		Online:      !s.Offline,
		Private:     s.Private,
		Bootstrap:   s.Bootstrap,
		Peers:       s.Peers,
		SwarmListen: s.SwarmListen,
		Provide:     s.Provide,
		MDNS:        s.MDNS,
		Gateways:    s.Gateways,
		Names:       s.NamesMoving,
		DNS:         s.NamesDNS,

		SwarmKeyFile:     s.SwarmKeyFile,
		GatewayTokenFile: s.GatewayTokenFile,
		FetchTimeout:     s.FetchTimeout,
		Log:              log,
	}
}

// networked and local say whether a verb that finds no daemon needs the network.
const (
	networked = true
	local     = false
)

// open returns the node that a verb works on: the Kubo of --ipfs-address, else
// the daemon that runs in the repository, else the repository itself. The caller
// closes it.
func (c *cli) open(ctx context.Context, s *config.Settings, log *slog.Logger, online bool) (*node.Node, error) {
	return c.openWith(ctx, s, log, nodeOptions(s, log), online)
}

// openFor is open for the sake of what ref names: with the network, and with the
// gateway of ref asked first.
func (c *cli) openFor(ctx context.Context, s *config.Settings, log *slog.Logger, ref image.Reference) (*node.Node, error) {
	o := nodeOptions(s, log)
	o.FirstGateway = ref.Gateway
	return c.openWith(ctx, s, log, o, networked)
}

func (c *cli) openWith(ctx context.Context, s *config.Settings, log *slog.Logger, o node.Options, online bool) (*node.Node, error) {
	n, err := running(ctx, s, o)
	if !errors.Is(err, node.ErrNoDaemon) {
		if err == nil {
			warnUnused(s, log)
		}
		return n, err
	}
	o.Online = o.Online && online
	return node.Open(ctx, o)
}

// running returns a node that somebody else runs, or node.ErrNoDaemon.
func running(ctx context.Context, s *config.Settings, o node.Options) (*node.Node, error) {
	if s.IPFSAddress != "" {
		return node.Attach(ctx, s.IPFSAddress, o)
	}
	return node.Dial(ctx, s.Repo, o)
}

// warnUnused tells of flags that only a node of the verb's own would heed.
func warnUnused(s *config.Settings, log *slog.Logger) {
	for _, name := range []string{"offline", "private", "swarm-key-file", "bootstrap", "peer", "swarm-listen", "gateway", "gateway-token-file", "names.moving", "names.dns"} {
		if s.Origin(name) == "flag --"+strings.ReplaceAll(name, ".", "-") {
			log.Warn("a node runs already, and its own setting is in force", "setting", name)
		}
	}
}

// close ends the use of a node; what the verb did is already durable.
func (c *cli) close(n io.Closer) {
	if err := n.Close(); err != nil {
		fmt.Fprintf(c.err, "warning: close the node: %v\n", err)
	}
}
