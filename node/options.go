package node

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/boxo/gateway"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// The values of Options.Provide: what the node announces to the swarm's DHT.
const (
	// ProvidePublished announces what Publish published, and nothing else.
	ProvidePublished = "published"
	// ProvidePinned announces everything pinned.
	ProvidePinned = "pinned"
	// ProvideNone announces nothing.
	ProvideNone = "none"
)

// NoBootstrap as the only entry of Options.Bootstrap means nobody: the node
// contacts nothing that it was not told to.
const NoBootstrap = "none"

const defaultFetchTimeout = 30 * time.Second

// Options say how a node runs. They hold for one run: nothing of them is
// written into the repository's config file.
type Options struct {
	// RepoPath is the directory of the Kubo repository; required by Open.
	RepoPath string
	// Online gives the node a libp2p host. Without it the node has none at
	// all, opens no socket and dials nobody.
	Online bool
	// Private demands a swarm key in the repository. A repository that has a
	// swarm key is private with or without it.
	Private bool
	// SwarmKeyFile names the file with the swarm key; "" means swarm.key in the
	// repository. With a name the swarm is private, and the file has to be there.
	SwarmKeyFile string
	// Bootstrap are the multiaddrs of the peers to join the swarm by. nil means
	// the public network's; [NoBootstrap] nobody. With any value but nil
	// nothing public is contacted.
	Bootstrap []string
	// Peers are the multiaddrs, ending in /p2p/<peer ID>, of peers that the
	// node keeps a connection to.
	Peers []string
	// SwarmListen are the multiaddrs to listen on; nil means the repository's.
	SwarmListen []string
	// Provide is one of the Provide constants; "" means ProvidePublished.
	Provide string
	// MDNS finds peers of the local network, and is found by them.
	MDNS bool
	// Gateways are the URLs of trustless HTTP gateways to ask for content. None
	// is ever asked that is not named here.
	Gateways []string
	// FirstGateway is one more, asked before all other sources; "" means none.
	FirstGateway string
	// GatewayTokenFile names a file whose content is sent to the gateways as a
	// bearer token, over https or to this host only; "" means none.
	GatewayTokenFile string
	// Names is one of the Names constants; "" means NamesAuto.
	Names string
	// DNS are the DNS-over-HTTPS servers to ask for DNSLink names, each as
	// <domain>=<URL>, the domain with a period at its end and "." for all. The
	// others are asked of the host's resolver.
	DNS []string
	// FetchTimeout is how long nothing may arrive before a retrieval fails; 0
	// means 30 s.
	FetchTimeout time.Duration
	// DiskFull is called, and must not wait, when a block could not be written
	// for want of room; nil means nobody is to know.
	DiskFull func()
	// Log gets the node's own messages; nil means none.
	Log *slog.Logger
	// Metrics gets the node's collectors; nil means none.
	Metrics prometheus.Registerer

	stopTimeout time.Duration // of the node's parts together; only tests set it
}

// withDefaults returns o complete and checked.
func (o Options) withDefaults() (Options, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.FetchTimeout <= 0 {
		o.FetchTimeout = defaultFetchTimeout
	}
	if o.stopTimeout <= 0 {
		o.stopTimeout = stopTimeout
	}
	if o.Provide == "" {
		o.Provide = ProvidePublished
	}
	if o.Names == "" {
		o.Names = NamesAuto
	}
	return o, o.check()
}

func (o Options) check() error {
	if !slices.Contains([]string{ProvidePublished, ProvidePinned, ProvideNone}, o.Provide) {
		return malformed("read node.provide", fmt.Errorf("%q is none of published, pinned and none", o.Provide), "")
	}
	if !slices.Contains([]string{NamesAuto, NamesOff, NamesKeys, NamesAll}, o.Names) {
		return malformed("read names.moving", fmt.Errorf("%q is none of auto, off, keys and all", o.Names), "")
	}
	if _, err := gateway.NewDNSResolver(o.resolvers()); err != nil {
		return malformed("read names.dns", err, "give <domain>.=https://…, or .=https://… for all domains")
	}
	if _, err := parsePeers("--peer", o.Peers); err != nil {
		return err
	}
	if _, err := parsePeers("--bootstrap", o.bootstrapPeers()); err != nil {
		return err
	}
	if _, err := gateways(o); err != nil {
		return err
	}
	for _, s := range o.SwarmListen {
		if _, err := multiaddr.NewMultiaddr(s); err != nil {
			return malformed("read --swarm-listen", err, "give a multiaddr such as /ip4/0.0.0.0/tcp/4001")
		}
	}
	return nil
}

// bootstrapPeers are the peers to bootstrap by that were named by hand.
func (o Options) bootstrapPeers() []string {
	if slices.Equal(o.Bootstrap, []string{NoBootstrap}) {
		return nil
	}
	return o.Bootstrap
}

// resolvers are the DNS servers as Kubo's configuration has them.
func (o Options) resolvers() map[string]string {
	all := map[string]string{}
	for _, s := range o.DNS {
		domain, url, _ := strings.Cut(s, "=")
		all[domain] = url
	}
	return all
}

// public reports whether the node may contact the public network.
func (o Options) public(private bool) bool {
	return o.Online && !private && o.Bootstrap == nil
}

// repoPath is the one spelling of the path that everything uses: Kubo shares an
// open repository among those that spell its path alike.
func (o Options) repoPath() (string, error) {
	if o.RepoPath == "" {
		return "", errors.New("no repository path given")
	}
	path, err := filepath.Abs(o.RepoPath)
	if err != nil {
		return "", fmt.Errorf("find repository %s: %w", o.RepoPath, err)
	}
	// A repository reached through a symbolic link has to have one name too.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("find repository %s: %w", o.RepoPath, err)
	}
	return path, nil
}

// parsePeers reads multiaddrs that end in a peer ID; several addresses of one
// peer become one entry.
func parsePeers(option string, addrs []string) ([]peer.AddrInfo, error) {
	var parsed []multiaddr.Multiaddr
	for _, s := range addrs {
		ma, err := multiaddr.NewMultiaddr(strings.TrimSpace(s))
		if err == nil {
			_, err = peer.AddrInfoFromP2pAddr(ma)
		}
		if err != nil {
			return nil, malformed("read "+option+" "+s, err, "give a multiaddr such as /ip4/192.0.2.1/tcp/4001/p2p/<peer ID>")
		}
		parsed = append(parsed, ma)
	}
	return peer.AddrInfosFromP2pAddrs(parsed...)
}

func malformed(op string, err error, hint string) error {
	return &image.Error{Class: image.Malformed, Op: op, Err: err, Hint: hint}
}
