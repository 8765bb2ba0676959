package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/verifcid"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipfs/kubo/client/rpc"
	"github.com/multiformats/go-multihash"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// loader loads blocks for one opening and says, when it can't, what was being
// attempted. Like the opening it has one user at a time.
type loader struct {
	content *content
	ctx     context.Context
	op      string
	path    image.Path
	// met, where there is one, is told of the shards of directories.
	met   func(cid.Cid)
	begin image.First // what will be read first

	idle      bool       // nobody has asked for it yet
	retrieval *retrieval // nil until a block is not at hand
}

// node returns the block c, decoded and within its bounds.
func (l *loader) node(c cid.Cid) (ipld.Node, error) { return l.first(single(c)) }

// first returns the one block of b, decoded and within its bounds.
func (l *loader) first(b batch) (ipld.Node, error) {
	c := b.wanted[0].cid
	if err := verifcid.ValidateCid(verifcid.DefaultAllowlist, c); err != nil {
		return nil, l.corrupt(c, err)
	}
	if c.Prefix().MhType == multihash.IDENTITY {
		return l.identity(c)
	}
	if info, err := l.content.disk.stat(c); err == nil && info.Size() > maxBlock {
		return nil, l.tooLarge(c, info.Size())
	}
	nd, err := l.retrieve().get(b, true)
	if err != nil {
		return nil, l.failed(c, err)
	}
	if size := len(nd.RawData()); size > maxBlock {
		return nil, l.tooLarge(c, int64(size))
	}
	return nd, nil
}

// identity decodes a CID that is the block itself.
func (l *loader) identity(c cid.Cid) (ipld.Node, error) {
	mh, err := multihash.Decode(c.Hash())
	if err != nil {
		return nil, l.corrupt(c, err)
	}
	block, err := blocks.NewBlockWithCid(mh.Digest, c)
	if err != nil {
		return nil, l.corrupt(c, err)
	}
	nd, err := decode(block)
	if err != nil {
		return nil, l.corrupt(c, err)
	}
	return nd, nil
}

func decode(block blocks.Block) (ipld.Node, error) {
	if block.Cid().Type() == cid.Raw {
		return merkledag.DecodeRawBlock(block)
	}
	return merkledag.DecodeProtobufBlock(block)
}

// page returns what the one node of b, which belongs to a file, says. Its block is checked here even
// if it comes from the disk, since all the rest is believed to it for long.
func (l *loader) page(b batch) (*page, error) {
	c := b.wanted[0].cid
	if p, ok := l.content.pages.get(c); ok {
		return p, nil
	}
	nd, err := l.first(b)
	if err != nil {
		return nil, err
	}
	if err := checkHash(nd); err != nil {
		return nil, l.corrupt(c, err)
	}
	p, err := parsePage(nd)
	if err != nil {
		return nil, l.corrupt(c, err)
	}
	l.content.pages.add(c, p)
	return p, nil
}

func checkHash(nd ipld.Node) error {
	sum, err := nd.Cid().Prefix().Sum(nd.RawData())
	if err != nil {
		return err
	}
	if !sum.Equals(nd.Cid()) {
		return fmt.Errorf("the node has kept other bytes for it, of %s", sum)
	}
	return nil
}

// learn takes in a page that arrived ahead of its reader.
func (c *content) learn(nd ipld.Node) {
	if nd.Cid().Type() != cid.DagProtobuf || len(nd.Links()) == 0 {
		return
	}
	if checkHash(nd) != nil {
		return
	}
	if p, err := parsePage(nd); err == nil {
		c.pages.add(nd.Cid(), p)
	}
}

func (l *loader) retrieve() *retrieval {
	if l.retrieval == nil {
		l.retrieval = newRetrieval(l.ctx, l.content, l.dag())
		l.retrieval.idle, l.retrieval.ranged = l.idle, l.ranged()
	}
	return l.retrieval
}

// dag is the root of the image that is loaded, or of the path: who had some of that
// is asked for the rest.
func (l *loader) dag() cid.Cid {
	if root, ok := image.RootIn(l.ctx); ok {
		return root
	}
	return l.path.Root
}

// ranged reports whether it loads for the reader of a Range, and not for one who
// wants all of a file, or to know how large it is.
func (l *loader) ranged() bool {
	size := l.begin.To - l.begin.From
	return !l.idle && size > 1 && size < partSize
}

func (l *loader) close() {
	if l.retrieval != nil {
		l.retrieval.close()
	}
}

// failed returns the error of a block that did not come.
func (l *loader) failed(c cid.Cid, err error) error {
	var netErr net.Error
	var slow slowDiskError
	switch {
	case image.ClassOf(err) != 0 || l.idle:
		return err
	case l.ctx.Err() != nil:
		return fmt.Errorf("%s %s: %w", l.op, l.path, l.ctx.Err())
	case errors.Is(err, syscall.ENOSPC):
		return l.fail(0, fmt.Errorf("the disk of the repository is full: block %s: %w", c, err),
			"make room on it; the daemon removes what nothing needs by itself, try again then")
	case errors.As(err, &slow):
		return l.fail(0, fmt.Errorf("block %s: %w", c, err), "find out what keeps it busy; what came before is here when you try again")
	case l.content.disk.isDamaged(c):
		return l.damaged(c, err)
	case errors.Is(err, errStalled):
		return l.unavailable(c, errors.New(l.retrieve().progress()),
			"pin it on a node that stays online, add a --peer that has it, or a --gateway")
	case errors.Is(err, errAbsent):
		return l.unavailable(c, fmt.Errorf("all that could be asked do not have it: %s", l.retrieve().fetcher.tell()),
			"pin it on a node that stays online, add a --peer that has it, or another --gateway")
	case ipld.IsNotFound(err):
		return l.unavailable(c, fmt.Errorf("the node is offline and does not have it: %w", err),
			"push or pin it here first, or run without --offline")
	case errors.As(err, &netErr):
		return l.unavailable(c, err, "check that the IPFS node runs")
	}
	if why := l.malformed(c); why != nil {
		return l.corrupt(c, why)
	}
	if said := (*rpc.Error)(nil); errors.As(err, &said) { // the other process's node, which tried
		return l.unavailable(c, err, "")
	}
	return l.fail(0, fmt.Errorf("block %s: %w", c, err), "")
}

// malformed returns why a block that is here can't be decoded. A DAGService
// does not tell that from other failures.
func (l *loader) malformed(c cid.Cid) error {
	if c.Type() != cid.DagProtobuf {
		return nil
	}
	nd, err := l.retrieve().get(single(cid.NewCidV1(cid.Raw, c.Hash())), true)
	if err != nil {
		return nil //nolint:nilerr // it is not here, so it can't be malformed
	}
	block, err := blocks.NewBlockWithCid(nd.RawData(), c)
	if err == nil {
		_, err = merkledag.DecodeProtobufBlock(block)
	}
	return err
}

func (l *loader) unavailable(c cid.Cid, why error, hint string) error {
	if !l.idle && image.NoteFailure(l.ctx) {
		l.content.unavailable.Add(1)
	}
	return l.fail(image.Unavailable, fmt.Errorf("block %s: %w", c, why), hint)
}

// damaged is the error of a block of which the only copy to be had is bad.
func (l *loader) damaged(c cid.Cid, why error) error {
	if errors.Is(why, errStalled) {
		why = errors.New(l.retrieve().progress())
	}
	return l.fail(image.Corrupt, fmt.Errorf("block %s is damaged on the disk of this node, and no other copy came: %w", c, why),
		"run it again when a peer or a --gateway that has it can be reached, or push or import the image again")
}

func (l *loader) tooLarge(c cid.Cid, size int64) error {
	return l.corrupt(c, fmt.Errorf("it has %d bytes, and a block at most %d", size, maxBlock))
}

func (l *loader) corrupt(c cid.Cid, why error) error {
	return l.fail(image.Corrupt, fmt.Errorf("block %s is malformed: %w", c, why), "")
}

func (l *loader) fail(class image.Class, why error, hint string) error {
	return &image.Error{Class: class, Op: l.op + " " + l.path.String(), Err: why, Hint: hint}
}
