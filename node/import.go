package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// profile is how a DAG is made of bytes and names. It alone decides the CIDs.
type profile struct {
	chunkSize int64 // bytes
	maxLinks  int   // of a node of a file
	// estimation is how the size of a plain directory is told, which becomes a
	// sharded one above shardAbove.
	estimation uio.SizeEstimationMode
}

const (
	shardAbove  = 256 << 10 // bytes
	shardFanout = 256
)

func profileOf(chunker publish.Chunker) (profile, error) {
	switch chunker {
	case publish.UnixFSv1:
		return profile{1 << 20, 1024, uio.SizeEstimationBlock}, nil
	case publish.KuboLegacy:
		return profile{256 << 10, 174, uio.SizeEstimationLinks}, nil
	default:
		return profile{}, &image.Error{Class: image.Malformed, Op: "add content", Err: fmt.Errorf("there is no chunker %q", chunker),
			Hint: fmt.Sprintf("give %s or %s", publish.UnixFSv1, publish.KuboLegacy)}
	}
}

func cidBuilder() cid.Builder {
	return cid.V1Builder{Codec: cid.DagProtobuf, MhType: multihash.SHA2_256}
}

// AddFile stores the bytes of r as one UnixFS file, as publish.Sink says. It
// holds at most some 20 MB of them at a time.
func (c *content) AddFile(ctx context.Context, r io.Reader, chunker publish.Chunker) (cid.Cid, error) {
	p, err := profileOf(chunker)
	if err != nil {
		return cid.Undef, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the writing of blocks when r fails
	dag := ipld.NewBufferedDAG(ctx, c.dag)
	params := helpers.DagBuilderParams{Dagserv: dag, CidBuilder: cidBuilder(), RawLeaves: true, Maxlinks: p.maxLinks}
	src := &source{ctx: ctx, r: r}
	builder, err := params.New(chunk.NewSizeSplitter(src, p.chunkSize))
	if err != nil {
		return cid.Undef, fmt.Errorf("add a file: %w", err)
	}
	root, err := balanced.Layout(builder)
	if err == nil {
		err = src.err
	}
	if err == nil {
		err = dag.Commit()
	}
	if err != nil {
		return cid.Undef, fmt.Errorf("add a file: %w", err)
	}
	return root.Cid(), nil
}

// source is a reader that stops between two reads when ctx ends, and remembers
// its failure: chunkers take io.ErrUnexpectedEOF, which a connection cut short
// gives, for the end.
type source struct {
	ctx context.Context
	r   io.Reader
	err error // other than io.EOF
}

func (s *source) Read(p []byte) (int, error) {
	if s.err == nil {
		s.err = s.ctx.Err()
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = fmt.Errorf("read the content: %w", err)
		err = s.err
	}
	return n, err
}

// AddDir stores a UnixFS directory tree, as publish.Sink says.
func (c *content) AddDir(ctx context.Context, entries map[string]cid.Cid, chunker publish.Chunker) (cid.Cid, error) {
	p, err := profileOf(chunker)
	if err != nil {
		return cid.Undef, err
	}
	t, err := newTree(entries)
	if err != nil {
		return cid.Undef, &image.Error{Class: image.Malformed, Op: "add a directory", Err: err}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &loader{content: c, ctx: ctx, op: "add to a directory"}
	defer l.close()
	dag := ipld.NewBufferedDAG(ctx, c.dag)
	root, err := t.add(l, dag, p)
	if err == nil {
		err = dag.Commit()
	}
	if err != nil {
		return cid.Undef, fmt.Errorf("add a directory: %w", err)
	}
	return root.Cid(), nil
}

// tree is a directory to be: names to trees and to content that is there.
type tree struct {
	dirs  map[string]*tree
	files map[string]cid.Cid
}

func newTree(entries map[string]cid.Cid) (*tree, error) {
	root := &tree{map[string]*tree{}, map[string]cid.Cid{}}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if err := root.insert(name, entries[name]); err != nil {
			return nil, fmt.Errorf("entry %q: %w", name, err)
		}
	}
	return root, nil
}

func (t *tree) insert(name string, c cid.Cid) error {
	names, err := splitPath(image.Path{Root: c, Rest: name})
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errors.New("its name is empty")
	}
	for _, dir := range names[:len(names)-1] {
		if _, ok := t.files[dir]; ok {
			return fmt.Errorf("%q is an entry already, not a directory", dir)
		}
		if t.dirs[dir] == nil {
			t.dirs[dir] = &tree{map[string]*tree{}, map[string]cid.Cid{}}
		}
		t = t.dirs[dir]
	}
	last := names[len(names)-1]
	if t.dirs[last] != nil {
		return fmt.Errorf("%q is a directory already", last)
	}
	t.files[last] = c
	return nil
}

// add stores the tree, from below, and returns its root.
func (t *tree) add(l *loader, dag ipld.DAGService, p profile) (ipld.Node, error) {
	dir, err := uio.NewDirectory(dag, uio.WithCidBuilder(cidBuilder()), uio.WithMaxHAMTFanout(shardFanout), uio.WithSizeEstimationMode(p.estimation))
	if err != nil {
		return nil, err
	}
	dir.SetHAMTShardingSize(shardAbove)
	for _, name := range slices.Sorted(maps.Keys(t.dirs)) {
		child, err := t.dirs[name].add(l, dag, p)
		if err == nil {
			err = dir.AddChild(l.ctx, name, child)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		l.path = image.Path{Root: t.files[name]}
		child, err := l.node(t.files[name])
		if err == nil {
			err = dir.AddChild(l.ctx, name, child)
		}
		if err != nil {
			return nil, err
		}
	}
	root, err := dir.GetNode()
	if err != nil {
		return nil, err
	}
	return root, dag.Add(l.ctx, root)
}
