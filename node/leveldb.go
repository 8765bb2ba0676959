package node

import (
	"path/filepath"

	leveldb "github.com/ipfs/go-ds-leveldb"
	"github.com/ipfs/kubo/plugin"
	"github.com/ipfs/kubo/plugin/plugins/levelds"
	"github.com/ipfs/kubo/repo"
	"github.com/ipfs/kubo/repo/fsrepo"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

// recordCache is how many bytes of records are kept in memory. The default is
// 8 MiB, which a look at a ledger of many images fills, and with the room that
// the garbage collector leaves it is twice that; the system has the file in its
// page cache anyway.
const recordCache = 1 << 20

// leanLevel is Kubo's plugin for leveldb, with less memory.
type leanLevel struct{ plugin.PluginDatastore }

func leanLevels() []plugin.Plugin {
	var all []plugin.Plugin
	for _, p := range levelds.Plugins {
		if d, ok := p.(plugin.PluginDatastore); ok {
			p = leanLevel{d}
		}
		all = append(all, p)
	}
	return all
}

// DatastoreConfigParser implements plugin.PluginDatastore.
func (p leanLevel) DatastoreConfigParser() fsrepo.ConfigFromMap {
	parse := p.PluginDatastore.DatastoreConfigParser()
	return func(params map[string]any) (fsrepo.DatastoreConfig, error) {
		theirs, err := parse(params)
		if err != nil {
			return nil, err
		}
		path, _ := params["path"].(string)               // theirs has looked
		compression, _ := params["compression"].(string) // likewise
		return leanConfig{theirs, path, compression}, nil
	}
}

// leanConfig is Kubo's, which says what is on the disk.
type leanConfig struct {
	fsrepo.DatastoreConfig
	path, compression string
}

// Create implements fsrepo.DatastoreConfig.
func (c leanConfig) Create(path string) (repo.Datastore, error) {
	if filepath.IsAbs(c.path) {
		path = c.path
	} else {
		path = filepath.Join(path, c.path)
	}
	o := &leveldb.Options{BlockCacheCapacity: recordCache}
	switch c.compression {
	case "none":
		o.Compression = opt.NoCompression
	case "snappy":
		o.Compression = opt.SnappyCompression
	}
	return leveldb.NewDatastore(path, o)
}
