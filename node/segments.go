package node

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/verifcid"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

const (
	// maxBlock is the most bytes of a block that peers hand on, so anything
	// larger can't be had from the network anyway.
	maxBlock = 2 << 20
	// maxLinks is above what fits of honest links in a block of maxBlock.
	maxLinks = 1 << 16
	// maxDepth is how many nodes a file may have above a leaf. 1 MiB chunks
	// fill 2^60 bytes at a depth of four.
	maxDepth = 64
	// maxCachedSegments bounds the page cache to about 12 MB.
	maxCachedSegments = 1 << 17
)

var errNotUnixFS = errors.New("it holds no UnixFS data")

type segmentKind uint8

const (
	rawLeaf segmentKind = iota // a raw block
	inline                     // the bytes inside the page's own dag-pb block
	subtree                    // a dag-pb block: a page of its own
)

// segment is a run of a page's bytes, from the end of the one before on.
type segment struct {
	cid  cid.Cid
	end  int64 // offset in the page
	kind segmentKind
}

// page is what one node of a file says about where its bytes are. It holds none
// of them, so it is small, and it is immutable like the block it comes from:
// all openings of all files share it, and what a hostile DAG repeats is kept
// once.
type page struct {
	size     int64
	segments []segment // none is empty
}

// find returns the segment of the byte at off, which is in [0, size), and the
// offset where it starts.
func (p *page) find(off int64) (segment, int64) {
	i := sort.Search(len(p.segments), func(i int) bool { return p.segments[i].end > off })
	if i == 0 {
		return p.segments[0], 0
	}
	return p.segments[i], p.segments[i-1].end
}

// add appends a segment of size bytes; one without bytes is never looked at.
func (p *page) add(c cid.Cid, size uint64, kind segmentKind) error {
	if size > math.MaxInt64-uint64(p.size) {
		return errors.New("its sizes add up to more than a file can have")
	}
	if size > 0 {
		p.size += int64(size)
		p.segments = append(p.segments, segment{c, p.size, kind})
	}
	return nil
}

// parsePage reads what a node of a file says. The error tells how the node is
// malformed; it is a *notFile when the node is well formed and no file.
func parsePage(nd ipld.Node) (*page, error) {
	p := &page{}
	if raw, ok := nd.(*merkledag.RawNode); ok {
		return p, p.add(nd.Cid(), uint64(len(raw.RawData())), rawLeaf)
	}
	pb, fs, err := parseUnixFS(nd)
	if err != nil {
		return nil, err
	}
	if t := fs.Type(); t != unixfs.TFile && t != unixfs.TRaw {
		return nil, &notFile{pb, fs}
	}
	return p, p.fill(pb, fs)
}

func (p *page) fill(pb *merkledag.ProtoNode, fs *unixfs.FSNode) error {
	links, sizes := pb.Links(), fs.BlockSizes()
	if len(links) != len(sizes) {
		return fmt.Errorf("it has %d links and %d sizes of them", len(links), len(sizes))
	}
	if err := p.add(pb.Cid(), uint64(len(fs.Data())), inline); err != nil {
		return err
	}
	for i, link := range links {
		kind, err := linkKind(link.Cid)
		if err == nil {
			err = p.add(link.Cid, sizes[i], kind)
		}
		if err != nil {
			return fmt.Errorf("link %d to %s: %w", i, link.Cid, err)
		}
	}
	// A missing file size reads as zero; what the parts say holds then.
	if size := fs.FileSize(); size != 0 && size != uint64(p.size) {
		return fmt.Errorf("it says that it has %d bytes and its parts that they have %d", size, p.size)
	}
	return nil
}

func linkKind(c cid.Cid) (segmentKind, error) {
	if err := verifcid.ValidateCid(verifcid.DefaultAllowlist, c); err != nil {
		return 0, err
	}
	switch c.Type() {
	case cid.Raw:
		return rawLeaf, nil
	case cid.DagProtobuf:
		return subtree, nil
	default:
		return 0, fmt.Errorf("a %s can't be part of a file", codecName(c))
	}
}

func parseUnixFS(nd ipld.Node) (*merkledag.ProtoNode, *unixfs.FSNode, error) {
	pb, ok := nd.(*merkledag.ProtoNode)
	if !ok {
		return nil, nil, fmt.Errorf("it is a %s", codecName(nd.Cid()))
	}
	if n := len(pb.Links()); n > maxLinks {
		return nil, nil, fmt.Errorf("it has %d links, more than %d", n, maxLinks)
	}
	if len(pb.Data()) == 0 {
		return nil, nil, errNotUnixFS
	}
	fs, err := unixfs.FSNodeFromBytes(pb.Data())
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNotUnixFS, err)
	}
	return pb, fs, nil
}

// notFile is a UnixFS node of another type than a file.
type notFile struct {
	pb *merkledag.ProtoNode
	fs *unixfs.FSNode
}

func (e *notFile) Error() string { return fmt.Sprintf("it is a UnixFS %s", e.fs.Type()) }

// pageCache keeps the pages used last, as many as have maxCachedSegments
// segments together. It is safe for concurrent use.
type pageCache struct {
	mu       sync.Mutex
	recent   *simplelru.LRU[cid.Cid, *page]
	segments int
}

func newPageCache() *pageCache {
	c := &pageCache{}
	forget := func(_ cid.Cid, p *page) { c.segments -= len(p.segments) + 1 }
	recent, err := simplelru.NewLRU[cid.Cid, *page](maxCachedSegments, forget)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	c.recent = recent
	return c
}

func (c *pageCache) get(k cid.Cid) (*page, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recent.Get(k)
}

func (c *pageCache) add(k cid.Cid, p *page) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recent.Contains(k) {
		return
	}
	c.recent.Add(k, p)
	c.segments += len(p.segments) + 1
	for c.segments > maxCachedSegments {
		c.recent.RemoveOldest()
	}
}
