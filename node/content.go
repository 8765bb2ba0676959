package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/boxo/verifcid"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// What a path may have at most.
const (
	maxPathLength = 4096 // bytes
	maxPathNames  = 64
	maxNameLength = 255 // bytes
)

// content opens and adds UnixFS content on a DAGService. It is safe for
// concurrent use.
type content struct {
	dag          ipld.DAGService
	supply       *supply
	disk         *disk
	fetchTimeout time.Duration

	pages *pageCache
	// files remembers where paths lead. Both sides are immutable, so nothing
	// here is ever stale.
	files  *lru.Cache[image.Path, cid.Cid]
	opened *openFiles
	// prefetches are stopped with the node.
	prefetches *prefetches
	haunts     *haunts
	inUse      *usage

	// unavailable counts what ended in an error of that class.
	unavailable atomic.Int64
}

// newContent makes a content on dag. session returns a getter for the blocks of
// one retrieval, which ends with its context; nil means dag. fetchTimeout is
// how long a reader waits while nothing arrives.
func newContent(dag ipld.DAGService, session func(context.Context) ipld.NodeGetter, d *disk, fetchTimeout time.Duration) *content {
	if session == nil {
		session = func(context.Context) ipld.NodeGetter { return dag }
	}
	files, err := lru.New[image.Path, cid.Cid](8192)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	c := &content{
		dag: dag, supply: newSupply(session, fetchTimeout), disk: d, fetchTimeout: fetchTimeout,
		pages: newPageCache(), files: files, opened: newOpenFiles(d), prefetches: newPrefetches(), haunts: newHaunts(), inUse: newUsage(),
	}
	c.supply.learn = c.learn
	return c
}

// Open implements image.Source.
func (c *content) Open(ctx context.Context, p image.Path) (image.File, error) {
	names, err := splitPath(p)
	if err != nil {
		return nil, &image.Error{Class: image.Malformed, Op: "open " + p.String(), Err: err}
	}
	f := newFile(ctx, c, p)
	if err := f.open(names); err != nil {
		_ = f.Close()
		return nil, err
	}
	f.op = "read"
	return f, nil
}

// splitPath returns the names of a path that is within its bounds.
func splitPath(p image.Path) ([]string, error) {
	if !p.Root.Defined() {
		return nil, errors.New("the path has no CID")
	}
	if err := verifcid.ValidateCid(verifcid.DefaultAllowlist, p.Root); err != nil {
		return nil, err
	}
	if p.Rest == "" {
		return nil, nil
	}
	if len(p.Rest) > maxPathLength {
		return nil, fmt.Errorf("the path has %d bytes, more than %d", len(p.Rest), maxPathLength)
	}
	names := strings.Split(p.Rest, "/")
	if len(names) > maxPathNames {
		return nil, fmt.Errorf("the path has %d names, more than %d", len(names), maxPathNames)
	}
	for _, name := range names {
		if err := checkName(name); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// checkName refuses what is no name of a file on any system.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a name of the path is empty")
	case name == "." || name == "..":
		return fmt.Errorf("%q is no name", name)
	case len(name) > maxNameLength:
		return fmt.Errorf("a name of the path has %d bytes, more than %d", len(name), maxNameLength)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%q is no name", name)
	}
	return nil
}
