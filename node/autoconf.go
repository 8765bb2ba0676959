package node

import (
	"fmt"
	"path/filepath"

	"github.com/ipfs/boxo/autoconf"
	kubo "github.com/ipfs/kubo"
	"github.com/ipfs/kubo/config"
)

// joinPublic makes c that of a client of the public network's DHT and fills in
// the places that Kubo's AutoConf fills: from the copy in the repository or
// else the one built into Kubo, while a newer one is fetched for the next start.
//
// Kubo's own AutoConf client is not used: it is one for the whole process and
// writes into the home directory instead of the repository.
func (e *embedded) joinPublic(c *config.Config, repoPath string) error {
	if c.Routing.Type.IsDefault() {
		c.Routing.Type = config.NewOptionalString("autoclient")
	}
	if !c.AutoConf.Enabled.WithDefault(config.DefaultAutoConfEnabled) {
		return nil
	}
	client, err := autoConfClient(c, repoPath, e)
	if err != nil {
		return fmt.Errorf("start AutoConf: %w", err)
	}
	fill(c, client.GetCached())
	c.AutoConf.Enabled = config.False
	e.background.Go(func() {
		if _, err := client.Start(e.ctx); err != nil && e.ctx.Err() == nil {
			e.options.Log.Info("AutoConf is not kept up to date", "error", err)
		}
	})
	return nil
}

func autoConfClient(c *config.Config, repoPath string, e *embedded) (*autoconf.Client, error) {
	refresh := config.DefaultAutoConfRefreshInterval
	if c.AutoConf.RefreshInterval != nil {
		refresh = c.AutoConf.RefreshInterval.WithDefault(refresh)
	}
	return autoconf.NewClient(
		autoconf.WithCacheDir(filepath.Join(repoPath, "autoconf")),
		autoconf.WithUserAgent(kubo.GetUserAgentVersion()),
		autoconf.WithCacheSize(config.DefaultAutoConfCacheSize),
		autoconf.WithTimeout(config.DefaultAutoConfTimeout),
		autoconf.WithRefreshInterval(refresh),
		autoconf.WithFallback(autoconf.GetMainnetFallbackConfig),
		autoconf.WithURL(c.AutoConf.URL.WithDefault(config.DefaultAutoConfURL)),
		autoconf.WithTLSInsecureSkipVerify(c.AutoConf.TLSInsecureSkipVerify.WithDefault(false)),
		autoconf.WithOnNewVersion(func(_, version int64, url string) {
			e.options.Log.Info("a new AutoConf version takes effect at the next start", "version", version, "url", url)
		}),
		autoconf.WithOnRefreshError(func(err error) {
			e.options.Log.Debug("AutoConf was not refreshed", "error", err)
		}),
	)
}

// fill replaces each "auto" in c by what AutoConf says.
func fill(c *config.Config, found *autoconf.Config) {
	native := nativeSystems(c.Routing.Type.WithDefault(config.DefaultRoutingType))
	c.Bootstrap = autoconf.ExpandBootstrapPeers(c.Bootstrap, found, native)
	c.DNS.Resolvers = autoconf.ExpandDNSResolvers(c.DNS.Resolvers, found)
	c.Routing.DelegatedRouters = autoconf.ExpandDelegatedEndpoints(c.Routing.DelegatedRouters, found, native,
		autoconf.RoutingV1ProvidersPath, autoconf.RoutingV1PeersPath, autoconf.RoutingV1IPNSPath)
	c.Ipns.DelegatedPublishers = autoconf.ExpandDelegatedEndpoints(c.Ipns.DelegatedPublishers, found, native,
		autoconf.RoutingV1IPNSPath)
}

// nativeSystems are the routing systems that the node speaks itself and needs
// no delegate for.
func nativeSystems(routingType string) []string {
	switch routingType {
	case "dht", "dhtclient", "dhtserver", "auto", "autoclient":
		return []string{autoconf.SystemAminoDHT}
	}
	return nil
}
