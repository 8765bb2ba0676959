package node

import (
	"fmt"
	"path/filepath"

	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/datastore/dshelp"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/namespace"
	dssync "github.com/ipfs/go-datastore/sync"
	flatfs "github.com/ipfs/go-ds-flatfs"
	"github.com/ipfs/kubo/repo"
	"github.com/multiformats/go-multihash"
)

// recordsKey is the prefix of our own records in the repository's datastore.
const recordsKey = "/ipfs-registry"

func ownRecords(ds datastore.Batching) datastore.Batching {
	return namespace.Wrap(ds, datastore.NewKey(recordsKey))
}

func memoryRecords() datastore.Batching {
	return dssync.MutexWrap(datastore.NewMapDatastore())
}

// leafPaths returns a function that names the file that holds a block, whether
// or not the block is there. It returns false for every block unless the
// repository keeps each in a file of its own. denied are never named: who reads
// a file passes by the denylists.
func leafPaths(r repo.Repo, denied func(cid.Cid) error) (func(cid.Cid) (string, bool), error) {
	cfg, err := r.Config()
	if err != nil {
		return nil, err
	}
	dir := flatfsDir(cfg.Datastore.Spec)
	if dir == "" {
		return noLeafPaths, nil
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(r.Path(), dir)
	}
	shard, err := flatfs.ReadShardFunc(dir)
	if err != nil {
		return nil, fmt.Errorf("read how %s is sharded: %w", dir, err)
	}
	return func(c cid.Cid) (string, bool) {
		if c.Prefix().MhType == multihash.IDENTITY || denied(c) != nil {
			return "", false // the first is its own block
		}
		name := dshelp.MultihashToDsKey(c.Hash()).String()[1:]
		return filepath.Join(dir, shard.Func()(name), name+".data"), true
	}, nil
}

func noLeafPaths(cid.Cid) (string, bool) { return "", false }

// flatfsDir finds the directory of the flatfs that a datastore spec mounts for
// blocks; "" if the blocks are kept otherwise.
func flatfsDir(spec map[string]any) string {
	mounts, _ := spec["mounts"].([]any)
	for _, m := range mounts {
		mount, _ := m.(map[string]any)
		if mount["mountpoint"] != blockstore.BlockPrefix.String() {
			continue
		}
		if child, ok := mount["child"].(map[string]any); ok { // a "measure" around it
			mount = child
		}
		if mount["type"] == "flatfs" {
			path, _ := mount["path"].(string)
			return path
		}
	}
	return ""
}
