package node

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	// maxServedSpan is how many bytes of a file are sent in one answer by the
	// short way. For that maxServedBlocks are looked at, as often as the file has
	// them, and maxServedNodes bytes of those that lead to others.
	maxServedSpan   = 64 << 20
	maxServedBlocks = 4096
	maxServedNodes  = 8 << 20
)

// errLongWay is why an answer is left to the gateway of boxo.
var errLongWay = errors.New("it is not a part of a file that is all here")

// carServer sends peers CARs of parts of files, which is what nodes of ours ask
// for, from the disk as they lie there: whoever gets them verifies them. It
// leaves everything else to next.
type carServer struct {
	content *content
	next    http.Handler
	places  chan struct{} // for the answers under way
}

func newCARServer(c *content, next http.Handler) *carServer {
	return &carServer{c, next, make(chan struct{}, maxServed)}
}

func (s *carServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sp, err := parseSpan(r)
	if err == nil {
		err = s.answer(w, r, sp)
	}
	switch {
	case err == nil:
	case image.ClassOf(err) == image.Denied:
		refuseDenied(w, sp.root.String())
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // there is nobody to answer
	default:
		s.next.ServeHTTP(w, r)
	}
}

// answer sends a part of a file. An error says that nothing has been sent.
func (s *carServer) answer(w http.ResponseWriter, r *http.Request, sp span) error {
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	default:
		return errLongWay
	}
	a, err := s.plan(r.Context(), sp, s.relayed(r, sp))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", carType+"; version=1; order=dfs; dups=n")
	w.Header().Set("Content-Length", strconv.FormatInt(a.size, 10))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := s.send(r.Context(), w, a); err != nil {
		panic(http.ErrAbortHandler) // what was promised can't be kept
	}
	return nil
}

// relayed returns the DAG of which what is missing for a request is to be
// fetched: for a peer that counts on it, of a file that is fetched here anyway.
func (s *carServer) relayed(r *http.Request, sp span) cid.Cid {
	spread := s.content.supply.spread
	dag, err := cid.Decode(r.URL.Query().Get(relayQuery))
	if err != nil || spread == nil || len(sp.names) > 0 || !spread.reads(sp.root) {
		return cid.Undef
	}
	return dag
}

// parseSpan reads a request for a CAR of a part of a file.
func parseSpan(r *http.Request) (span, error) {
	q := r.URL.Query()
	if q.Get("format") != "car" || q.Get("dag-scope") != "entity" || q.Get("car-order") != "dfs" || q.Get("car-dups") != "n" {
		return span{}, errLongWay
	}
	root, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/ipfs/"), "/")
	var sp span
	var err error
	if rest != "" {
		sp.names = strings.Split(rest, "/")
	}
	if sp.root, err = cid.Decode(root); err != nil {
		return span{}, err
	}
	from, to, _ := strings.Cut(q.Get("entity-bytes"), ":")
	if sp.from, err = strconv.ParseInt(from, 10, 64); err != nil {
		return span{}, err
	}
	last, err := strconv.ParseInt(to, 10, 64)
	if err != nil || sp.from < 0 || last < sp.from || last-sp.from >= maxServedSpan || len(sp.names) > maxPathNames {
		return span{}, errLongWay
	}
	sp.to = last + 1
	return sp, nil
}

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

// headerOfCAR is the header of a CAR with one root: the CBOR of
// {"roots": [root], "version": 1}, after its length.
func headerOfCAR(root cid.Cid) ([]byte, error) {
	c := root.Bytes()
	if len(c) < 24 || len(c) > 254 { // a length in one byte, which no sensible hash exceeds
		return nil, errLongWay
	}
	header := append([]byte("\xa2\x65roots\x81\xd8\x2a\x58"), byte(len(c)+1), 0)
	header = append(append(header, c...), "\x67version\x01"...)
	return append(binary.AppendUvarint(nil, uint64(len(header))), header...), nil
}

// send writes the answer, and fetches what is missing for it. Whoever takes
// nothing of it for long is given up.
func (s *carServer) send(ctx context.Context, w http.ResponseWriter, a *carAnswer) error {
	var fetching *retrieval
	if len(a.missing) > 0 {
		fetching = newRetrieval(ctx, s.content, a.relayed)
		defer fetching.close()
		fetching.ask(batch{wanted: a.missing, span: a.span, direct: true, relay: true})
	}
	if _, err := w.Write(a.header); err != nil {
		return err
	}
	patience := http.NewResponseController(w)
	for _, b := range a.blocks {
		var nd ipld.Node
		if fetching != nil && !s.content.disk.here(b.cid) {
			err := patience.Flush()
			if err == nil {
				nd, err = fetching.get(single(b.cid), false)
			}
			if err != nil {
				return err
			}
		}
		if err := patience.SetWriteDeadline(time.Now().Add(serveStall)); err != nil {
			return err
		}
		if err := s.block(ctx, w, b, nd); err != nil {
			return err
		}
	}
	return nil
}

// block writes a block, which may have come as a node, or from the disk.
func (s *carServer) block(ctx context.Context, w io.Writer, b carBlock, nd ipld.Node) error {
	if _, err := w.Write(b.prefix()); err != nil {
		return err
	}
	if nd == nil {
		if file, ok := s.content.opened.openAlone(b.cid, b.size); ok {
			defer s.content.opened.release(file)
			_, err := s.content.copyFile(w, file, 0, b.size)
			return err
		}
		nd, _ = s.content.supply.look(ctx, b.cid) // it may have no file of its own
	}
	if nd == nil || int64(len(nd.RawData())) != b.size {
		return errShort
	}
	_, err := w.Write(nd.RawData())
	return err
}
