package node

import (
	"context"
	"encoding/binary"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
)

// carAnswer is a CAR that is to be sent: its header and its blocks.
type carAnswer struct {
	span   span
	header []byte
	blocks []carBlock
	seen   map[cid.Cid]bool
	size   int64 // in bytes, of all
	// looks are how many blocks were looked at for it, and nodes and leaves how
	// many bytes those had that were read: with links, and without.
	looks         int
	nodes, leaves int64
	// relayed is the DAG of which blocks may be missing, and have to be fetched.
	relayed cid.Cid
	missing []wanted
}

// carBlock is a block of a CAR. Its bytes are read when it is sent: who reads an
// answer slowly costs little memory.
type carBlock struct {
	cid  cid.Cid
	size int64
}

func (b carBlock) prefix() []byte {
	c := b.cid.Bytes()
	return append(binary.AppendUvarint(nil, uint64(int64(len(c))+b.size)), c...)
}

func (a *carAnswer) add(b carBlock) {
	if a.seen[b.cid] || b.cid.Prefix().MhType == multihash.IDENTITY {
		return
	}
	a.seen[b.cid] = true
	a.blocks = append(a.blocks, b)
	a.size += int64(len(b.prefix())) + b.size
}

// plan returns the answer for a span whose blocks are all here, or those
// that are no leaves if the others may be fetched.
func (s *carServer) plan(ctx context.Context, sp span, relayed cid.Cid) (*carAnswer, error) {
	header, err := headerOfCAR(sp.root)
	if err != nil {
		return nil, err
	}
	a := &carAnswer{span: sp, header: header, seen: map[cid.Cid]bool{}, size: int64(len(header)), relayed: relayed}
	c := sp.root
	for names := sp.names; len(names) > 0; names = names[1:] {
		nd, err := s.look(ctx, a, c)
		if err != nil {
			return nil, err
		}
		next := sp.below(nd, place{names: names})
		if len(next) != 1 {
			return nil, errLongWay
		}
		c = next[0].cid
	}
	return a, s.node(ctx, a, c, 0, 0)
}

// look adds a block whose links matter, and returns it.
func (s *carServer) look(ctx context.Context, a *carAnswer, c cid.Cid) (ipld.Node, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.content.supply.denied(c); err != nil {
		return nil, err
	}
	nd, ok := s.content.supply.look(ctx, c)
	if !ok || !a.room(nd) {
		return nil, errLongWay
	}
	a.add(carBlock{cid: c, size: int64(len(nd.RawData()))})
	return nd, nil
}

// room reports whether a block that was read is not too much for one answer.
func (a *carAnswer) room(nd ipld.Node) bool {
	if size := int64(len(nd.RawData())); len(nd.Links()) > 0 {
		a.nodes += size
	} else {
		a.leaves += size
	}
	return a.nodes <= maxServedNodes && a.leaves <= maxServedSpan+2*maxBlock
}

// node adds a node of the file, which begins at an offset, and what the span
// has of it.
func (s *carServer) node(ctx context.Context, a *carAnswer, c cid.Cid, start int64, depth int) error {
	if depth > maxDepth {
		return errLongWay
	}
	nd, err := s.look(ctx, a, c)
	if err != nil {
		return err
	}
	p, known := s.content.pages.get(c)
	if !known {
		if p, err = parsePage(nd); err != nil {
			return err
		}
	}
	for i, seg := range p.segments {
		from, to := start, start+seg.end
		if i > 0 {
			from += p.segments[i-1].end
		}
		if to <= a.span.from || from >= a.span.to || seg.cid.Equals(c) {
			continue
		}
		if err := s.below(ctx, a, seg, from, to-from, depth); err != nil {
			return err
		}
	}
	return nil
}

// below adds what a segment of a node leads to.
func (s *carServer) below(ctx context.Context, a *carAnswer, seg segment, start, size int64, depth int) error {
	if a.looks++; a.looks > maxServedBlocks {
		return errLongWay
	}
	if seg.kind == rawLeaf {
		if info, err := s.content.disk.stat(seg.cid); err == nil && info.Size() == size {
			a.add(carBlock{cid: seg.cid, size: size})
			return nil
		}
		if a.relayed.Defined() && size <= maxBlock && !a.seen[seg.cid] && s.content.supply.denied(seg.cid) == nil {
			a.missing = append(a.missing, wanted{seg.cid, place{start: start, end: start + size}})
			a.add(carBlock{cid: seg.cid, size: size})
			return nil
		}
	}
	return s.node(ctx, a, seg.cid, start, depth+1)
}
