package node

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

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
	if err != nil || last == math.MaxInt64 || sp.from < 0 || last < sp.from || last-sp.from >= maxServedSpan || len(sp.names) > maxPathNames {
		return span{}, errLongWay
	}
	sp.to = last + 1
	return sp, nil
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
