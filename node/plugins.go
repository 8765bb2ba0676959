package node

import (
	"fmt"
	"sync"

	"github.com/ipfs-shipyard/nopfs"
	blocking "github.com/ipfs-shipyard/nopfs/ipfs"
	"github.com/ipfs/kubo/core"
	"github.com/ipfs/kubo/plugin"
	"github.com/ipfs/kubo/plugin/plugins/badgerds"
	"github.com/ipfs/kubo/plugin/plugins/dagjose"
	"github.com/ipfs/kubo/plugin/plugins/flatfs"
	"github.com/ipfs/kubo/plugin/plugins/git"
	denylist "github.com/ipfs/kubo/plugin/plugins/nopfs"
	"github.com/ipfs/kubo/plugin/plugins/pebbleds"
	"github.com/ipfs/kubo/repo"
	"github.com/ipfs/kubo/repo/fsrepo"
	"github.com/ipld/go-ipld-prime/multicodec"
	"go.uber.org/fx"
)

// registerPlugins teaches Kubo the datastores and codecs that a repository may
// use. It is the one global of the package: Kubo keeps these registries for the
// whole process and refuses a second registration.
//
// Kubo's plugin loader is not used on purpose. It would initialise and start
// the telemetry plugin with the others, and load shared objects from the
// repository's plugins directory.
var registerPlugins = sync.OnceValue(func() error { //nolint:gochecknoglobals // the registries are the process's too
	for _, set := range [][]plugin.Plugin{
		flatfs.Plugins, leanLevels(), pebbleds.Plugins, badgerds.Plugins, dagjose.Plugins, git.Plugins,
	} {
		for _, p := range set {
			if err := registerPlugin(p); err != nil {
				return fmt.Errorf("register Kubo's plugin %s: %w", p.Name(), err)
			}
		}
	}
	core.RegisterFXOptionFunc(blockContent)
	return nil
})

func registerPlugin(p plugin.Plugin) error {
	if d, ok := p.(plugin.PluginDatastore); ok {
		if err := fsrepo.AddDatastoreConfigHandler(d.DatastoreTypeName(), d.DatastoreConfigParser()); err != nil {
			return err
		}
	}
	if i, ok := p.(plugin.PluginIPLD); ok {
		return i.Register(multicodec.DefaultRegistry)
	}
	return nil
}

// blockContent makes every node obey the *.deny files of its own repository's
// denylists directory and of the machine's (IPIP-383), as any Kubo does, and
// hand out no block that is damaged.
func blockContent(info core.FXNodeInfo) ([]fx.Option, error) {
	return append(info.FXOptions,
		fx.Decorate(withBarrier),
		fx.Decorate(withReaders),
		fx.Decorate(withSupply),
		fx.Provide(newBlocker),
		fx.Decorate(blocking.WrapBlockService),
		fx.Decorate(blocking.WrapNameSystem),
		fx.Decorate(denylist.PathResolvers),
	), nil
}

// newBlocker reads the denylists. It leaves them with our own repository too,
// as Kubo does not ask them for blocks that come through a session.
func newBlocker(r repo.Repo) (*nopfs.Blocker, error) {
	blocker, err := denylist.MakeBlocker(r.Path())()
	if ours, ok := r.(*overlaidRepo); ok {
		ours.blocker = blocker
	}
	return blocker, err
}
