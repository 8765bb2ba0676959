package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/go-cid"
)

const (
	// pullingPath is where a peer tells which DAG it pulls.
	pullingPath = "/ipfs-registry/pulling/"
	// relayQuery, in a request for a part, says that we are counted on to fetch
	// it, and of which DAG it is.
	relayQuery = "relay"
	// Each announceEvery at most the peers hear that a DAG is pulled, maxAnnounced
	// of them, and believe it for pullingFor.
	announceEvery = 10 * time.Second
	announceLimit = 5 * time.Second
	pullingFor    = time.Minute
	maxAnnounced  = 16
	maxPullers    = 32
	maxPulled     = 1024
	// relayAfter is how long a part may take that another fetches for us.
	relayAfter = 10 * time.Second
)

// spread has those nodes that pull the same DAG at the same time fetch
// different parts of it from whoever has it all, and get the rest from one
// another. It is safe for concurrent use.
type spread struct {
	self  string // the peer ID
	peers func() []*supplier

	mu      sync.Mutex
	dags    *lru.Cache[cid.Cid, *pulled]
	reading map[cid.Cid]int // how many read a file in bulk
}

// pulled is what is known of who pulls a DAG.
type pulled struct {
	announced time.Time
	by        map[string]time.Time // peer IDs, and when they said so
}

func newSpread(self string, peers func() []*supplier) *spread {
	dags, err := lru.New[cid.Cid, *pulled](maxPulled)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &spread{self: self, peers: peers, dags: dags, reading: map[cid.Cid]int{}}
}

// dag needs s.mu.
func (s *spread) dag(c cid.Cid) *pulled {
	p, ok := s.dags.Get(c)
	if !ok {
		p = &pulled{by: map[string]time.Time{}}
		s.dags.Add(c, p)
	}
	return p
}

// announce tells the peers that this node pulls a DAG, in the background.
func (s *spread) announce(ctx context.Context, dag cid.Cid) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.dag(dag)
	if time.Since(p.announced) < announceEvery {
		return
	}
	p.announced = time.Now()
	peers := s.peers()
	for _, peer := range peers[:min(len(peers), maxAnnounced)] {
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), announceLimit)
			defer cancel()
			if peer.pulls(ctx, dag) {
				s.heard(dag, peer.peer)
			}
		}()
	}
}

// pulls tells a peer that this node pulls a DAG, and returns whether it does too.
func (s *supplier) pulls(ctx context.Context, dag cid.Cid) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+pullingPath+dag.String(), nil)
	if err != nil {
		return false
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxHeader)
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusNoContent
}

// heard notes that a peer pulls a DAG, and returns whether this node does.
func (s *spread) heard(dag cid.Cid, peer string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.dag(dag)
	maps.DeleteFunc(p.by, func(_ string, said time.Time) bool { return time.Since(said) >= pullingFor })
	if _, known := p.by[peer]; known || len(p.by) < maxPullers {
		p.by[peer] = time.Now()
	}
	return time.Since(p.announced) < pullingFor
}

// left notes that a peer does not pull a DAG any more.
func (s *spread) left(dag cid.Cid, peer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dag(dag).by, peer)
}

// leader returns who of those that pull a DAG fetches the part of a file that
// begins at an offset, nil if it is this node.
func (s *spread) leader(dag cid.Cid, part span) *supplier {
	s.mu.Lock()
	alone := len(s.dag(dag).by) == 0
	s.mu.Unlock()
	if alone || len(part.names) > 0 || part.to == 0 {
		return nil
	}
	var leader *supplier
	best := weight(part, s.self)
	for _, peer := range s.peers() {
		if !s.pulling(dag, peer.peer) {
			continue
		}
		if w := weight(part, peer.peer); bytes.Compare(w, best) > 0 {
			leader, best = peer, w
		}
	}
	return leader
}

func (s *spread) pulling(dag cid.Cid, peer string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, ok := s.dag(dag).by[peer]
	return ok && time.Since(since) < pullingFor
}

// weight orders those who could fetch a part, for all of them in the same way.
func weight(part span, peer string) []byte {
	key := binary.BigEndian.AppendUint64(part.root.Bytes(), uint64(part.from/partSize))
	sum := sha256.Sum256(append(key, peer...))
	return sum[:]
}

// read counts a reader of all of a file, or with -1 that it is done.
func (s *spread) read(file cid.Cid, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading[file] += n; s.reading[file] <= 0 {
		delete(s.reading, file)
	}
}

// reads reports whether somebody reads all of a file here.
func (s *spread) reads(file cid.Cid) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reading[file] > 0
}

// ServeHTTP hears of a peer which DAG it pulls: 204 says that this node pulls
// it too.
func (s *spread) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := cid.Decode(r.PathValue("cid"))
	if err != nil {
		http.Error(w, "no CID", http.StatusBadRequest)
		return
	}
	if !s.heard(c, r.RemoteAddr) {
		http.NotFound(w, r)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
