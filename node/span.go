package node

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// span is a part of a DAG as a trustless gateway sends it in one stream: the
// blocks on the way from root along names, and those of the file there that
// hold its bytes [from, to). The zero value is no span: then blocks are asked
// for one by one.
type span struct {
	root     cid.Cid
	names    []string
	from, to int64
}

// place is where a block lies in a span: names are those that lead on from it,
// and [start, end) the bytes of the file that it leads to; end is 0 if that is
// not known.
type place struct {
	names      []string
	start, end int64
}

// whole is the span of a file at a path, of which what first says is needed.
func whole(root cid.Cid, names []string, first image.First) batch {
	at := place{names: names}
	return batch{
		wanted: []wanted{{root, at}}, direct: true,
		span: span{root: root, names: names, from: first.From, to: min(first.To, first.From+firstWindow)},
	}
}

// inside is the span of a node inside a file, of which the byte at an offset is
// needed.
func inside(c cid.Cid, off, size int64) batch {
	at := place{end: size}
	return batch{wanted: []wanted{{c, at}}, direct: true, span: span{root: c, from: off, to: off + 1}}
}

// below returns what the span has directly below a block.
func (s span) below(nd ipld.Node, at place) []wanted {
	pb, ok := nd.(*merkledag.ProtoNode)
	if !ok || s.to == 0 {
		return nil
	}
	if len(at.names) > 0 {
		return entry(pb, at.names)
	}
	p, err := parsePage(nd)
	if err != nil {
		return nil
	}
	var below []wanted
	start := at.start
	for _, seg := range p.segments {
		end := at.start + seg.end
		if seg.kind != inline && start < s.to && end > s.from && len(below) < maxAsk && seg.cid.Prefix().MhType != multihash.IDENTITY {
			below = append(below, wanted{seg.cid, place{start: start, end: end}})
		}
		start = end
	}
	return below
}

// entry returns where the first of names leads to from a directory in one block.
func entry(pb *merkledag.ProtoNode, names []string) []wanted {
	_, fs, err := parseUnixFS(pb)
	if err != nil || fs.Type() != unixfs.TDirectory {
		return nil
	}
	for _, link := range pb.Links() {
		if link.Name == names[0] && link.Cid.Prefix().MhType != multihash.IDENTITY {
			return []wanted{{link.Cid, place{names: names[1:]}}}
		}
	}
	return nil
}

// narrow returns the part of the span that holds all of what is wanted.
func (s span) narrow(all []wanted) span {
	if s.to == 0 || len(all) == 0 {
		return s
	}
	from, to := all[0].start, all[0].end
	for _, w := range all {
		if w.end == 0 {
			return s
		}
		from, to = min(from, w.start), max(to, w.end)
	}
	s.from, s.to = max(s.from, from), min(s.to, to)
	return s
}

// query is the part of a trustless gateway's URL that asks for the span.
func (s span) query() string {
	path := "/ipfs/" + s.root.String()
	for _, name := range s.names {
		path += "/" + url.PathEscape(name)
	}
	return path + "?" + strings.Join([]string{
		"format=car", "dag-scope=entity", fmt.Sprintf("entity-bytes=%d:%d", s.from, s.to-1), "car-order=dfs", "car-dups=n",
	}, "&")
}
