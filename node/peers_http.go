package node

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	libp2phttp "github.com/libp2p/go-libp2p/p2p/http"
)

const (
	httpProtocol protocol.ID = libp2phttp.ProtocolIDForMultistreamSelect
	// maxPeers is of how many peers it is remembered how they did.
	maxPeers = 1024
	// afterGateways is the order of peers that were not asked for by name.
	afterGateways = 1000
	byName        = -1
	// first is the order of a gateway to ask before all others.
	first     = -2
	newStream = 10 * time.Second
)

// httpPeers are the connected peers that speak HTTP over libp2p, as sources.
type httpPeers struct {
	host  host.Host
	named []peer.ID
	known *lru.Cache[peer.ID, *supplier]
}

func newHTTPPeers(h host.Host, named []peer.AddrInfo) *httpPeers {
	known, err := lru.New[peer.ID, *supplier](maxPeers)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	p := &httpPeers{host: h, known: known}
	for _, info := range named {
		p.named = append(p.named, info.ID)
	}
	return p
}

func (p *httpPeers) sources() []*supplier {
	var all []*supplier
	for _, id := range p.host.Network().Peers() {
		if s := p.source(id); s != nil {
			all = append(all, s)
		}
	}
	return all
}

// source returns the peer as a source, or nil if it does not speak HTTP.
func (p *httpPeers) source(id peer.ID) *supplier {
	speaks, err := p.host.Peerstore().SupportsProtocols(id, httpProtocol)
	if err != nil || len(speaks) == 0 {
		return nil
	}
	if s, ok := p.known.Get(id); ok {
		return s
	}
	s := &supplier{
		peer: id.String(), name: "peer " + id.String(), label: peerLabel, base: "http://" + id.String(), order: afterGateways,
		client: &http.Client{
			Transport:     peerTransport{p.host, id},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if slices.Contains(p.named, id) {
		s.order = byName
	}
	if old, ok, _ := p.known.PeekOrAdd(id, s); ok {
		return old
	}
	return s
}

// peerTransport is an http.RoundTripper to a connected peer. That of go-libp2p
// can't be cancelled.
type peerTransport struct {
	host host.Host
	peer peer.ID
}

func (t peerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(network.WithNoDial(r.Context(), "only connected peers are asked"), newStream)
	defer cancel()
	s, err := t.host.NewStream(ctx, t.peer, httpProtocol)
	if err != nil {
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	stop := context.AfterFunc(r.Context(), func() { _ = s.Reset() })
	resp, err := roundTrip(s, r)
	if err != nil {
		stop()
		_ = s.Reset()
		return nil, err
	}
	resp.Body = &streamBody{resp.Body, s, stop}
	return resp, nil
}

func roundTrip(s network.Stream, r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Close = true // the stream ends with the answer
	if err := r.Write(s); err != nil {
		return nil, err
	}
	if err := s.CloseWrite(); err != nil {
		return nil, err
	}
	head := &io.LimitedReader{R: s, N: maxHeader}
	resp, err := http.ReadResponse(bufio.NewReaderSize(head, 4<<10), r)
	head.N = 1 << 62 // the body has bounds of its own
	return resp, err
}

// streamBody is the body of an answer, with the stream that it comes by.
type streamBody struct {
	io.ReadCloser
	stream network.Stream
	stop   func() bool
}

func (b *streamBody) Close() error {
	b.stop()
	// What has not been read is not waited for.
	return b.stream.Reset()
}
