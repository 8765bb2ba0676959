package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/hamt"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multicodec"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// maxEntries is how many names of a directory an error tells.
const maxEntries = 10

// resolve follows names from the path's root on.
func (l *loader) resolve(names []string) (cid.Cid, error) {
	if c, ok := l.content.files.Get(l.path); ok {
		return c, nil
	}
	c := l.path.Root
	for i := range names {
		at := image.Path{Root: l.path.Root, Rest: strings.Join(names[:i], "/")}
		next, err := l.child(at, c, names[i:])
		if err != nil {
			return cid.Undef, err
		}
		c = next
	}
	return c, nil
}

// child finds the first of names in the directory c at a path.
func (l *loader) child(at image.Path, c cid.Cid, names []string) (cid.Cid, error) {
	name := names[0]
	if c.Type() != cid.DagProtobuf {
		return cid.Undef, l.absent(name, fmt.Errorf("%s is a %s, not a directory", at, kindOfCodec(c)))
	}
	nd, err := l.first(whole(c, names, l.begin))
	if err != nil {
		return cid.Undef, err
	}
	pb, fs, err := parseUnixFS(nd)
	if err != nil {
		return cid.Undef, l.absent(name, fmt.Errorf("%s is no directory: %w", at, err))
	}
	switch fs.Type() {
	case unixfs.TDirectory:
		return l.childOfPlain(at, pb, name)
	case unixfs.THAMTShard:
		return l.childOfSharded(at, pb, name)
	default:
		return cid.Undef, l.absent(name, fmt.Errorf("%s is a %s, not a directory", at, kindOf(fs)))
	}
}

func (l *loader) childOfPlain(at image.Path, pb *merkledag.ProtoNode, name string) (cid.Cid, error) {
	for _, link := range pb.Links() {
		if link.Name == name {
			return link.Cid, nil
		}
	}
	return cid.Undef, l.absent(name, fmt.Errorf("the directory %s has no such name", at))
}

// childOfSharded reads one block for each level of the directory.
func (l *loader) childOfSharded(at image.Path, pb *merkledag.ProtoNode, name string) (cid.Cid, error) {
	shard, err := hamt.NewHamtFromDag(shardGetter{l.content.dag, l}, pb)
	if err != nil {
		return cid.Undef, l.corrupt(pb.Cid(), err)
	}
	link, err := shard.Find(l.ctx, name)
	switch {
	case err == nil:
		return link.Cid, nil
	case errors.Is(err, os.ErrNotExist):
		return cid.Undef, l.absent(name, fmt.Errorf("the directory %s has no such name", at))
	case image.ClassOf(err) != 0 || l.ctx.Err() != nil:
		return cid.Undef, err
	default:
		return cid.Undef, l.corrupt(pb.Cid(), err)
	}
}

// shardGetter gets the shards of a directory by way of a loader.
type shardGetter struct {
	ipld.DAGService
	loader *loader
}

func (g shardGetter) Get(_ context.Context, c cid.Cid) (ipld.Node, error) {
	if g.loader.met != nil {
		g.loader.met(c)
	}
	return g.loader.node(c)
}

func (l *loader) absent(name string, why error) error {
	return &image.Error{Class: image.NotFound, Op: fmt.Sprintf("%s %s: find %q", l.op, l.path, name), Err: why}
}

// notFile says what was found where a file was looked for.
func (l *loader) notFile(found *notFile) error {
	e := &image.NotFileError{Path: l.path, Kind: kindOf(found.fs)}
	switch found.fs.Type() {
	case unixfs.TDirectory:
		for _, link := range found.pb.Links()[:min(len(found.pb.Links()), maxEntries)] {
			e.Entries = append(e.Entries, link.Name)
		}
	case unixfs.THAMTShard:
		e.Entries = l.someEntries(found)
	}
	return e
}

// someEntries returns a few names of a sharded directory. It reads one shard
// below the first at most, and no name is better than an error.
func (l *loader) someEntries(found *notFile) []string {
	names, shards := shardNames(found)
	if len(names) > 0 || len(shards) == 0 {
		return names
	}
	nd, err := l.node(shards[0])
	if err != nil {
		return nil
	}
	pb, fs, err := parseUnixFS(nd)
	if err != nil {
		return nil
	}
	names, _ = shardNames(&notFile{pb, fs})
	return names
}

// shardNames returns the first names in a shard and the shards below it. The
// name of a link begins with its place in the shard, and a shard has no more.
func shardNames(found *notFile) (names []string, shards []cid.Cid) {
	prefix := len(fmt.Sprintf("%X", max(found.fs.Fanout(), 1)-1))
	for _, link := range found.pb.Links() {
		if len(link.Name) > prefix && len(names) < maxEntries {
			names = append(names, link.Name[prefix:])
		} else if len(link.Name) == prefix {
			shards = append(shards, link.Cid)
		}
	}
	return names, shards
}

func kindOf(fs *unixfs.FSNode) string {
	switch fs.Type() {
	case unixfs.TDirectory, unixfs.THAMTShard:
		return "directory"
	case unixfs.TSymlink:
		return "symlink"
	case unixfs.TFile, unixfs.TRaw:
		return "file"
	default:
		return fmt.Sprintf("UnixFS node of the type %s", fs.Type())
	}
}

func kindOfCodec(c cid.Cid) string {
	if c.Type() == cid.Raw {
		return "file"
	}
	return codecName(c)
}

func codecName(c cid.Cid) string { return multicodec.Code(c.Type()).String() + " node" }
