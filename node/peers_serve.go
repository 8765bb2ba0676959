package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path"
	libp2phttp "github.com/libp2p/go-libp2p/p2p/http"
	"github.com/libp2p/go-libp2p/p2p/net/gostream"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// gatewayProtocol names the trustless gateway among what a peer serves.
	gatewayProtocol = "/ipfs/gateway"
	// maxServed bounds the requests of all peers together.
	maxServed = 512
	// serveStall is how long a peer may take nothing of an answer.
	serveStall = 30 * time.Second
	serveLimit = time.Hour
	readLimit  = 10 * time.Second
)

// servePeers serves the trustless gateway to peers until e closes: single
// blocks and CARs of what is here, and nothing that would have to be fetched.
func (e *embedded) servePeers(c *content) error {
	handler, err := e.peerGateway(c)
	if err != nil {
		return err
	}
	l, err := gostream.Listen(e.node.PeerHost, httpProtocol, gostream.IgnoreEOF())
	if err != nil {
		return err
	}
	server := newPeerServer(handler, e.options.Log)
	e.background.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) && e.ctx.Err() == nil {
			e.options.Log.Warn("peers are not served over HTTP any more", "error", err)
		}
	})
	context.AfterFunc(e.ctx, func() { _ = server.Close() })
	return nil
}

func newPeerServer(h http.Handler, log *slog.Logger) *http.Server {
	server := &http.Server{
		Handler: h, ReadTimeout: readLimit, WriteTimeout: serveLimit, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	server.SetKeepAlivesEnabled(false) // a stream carries one answer
	return server
}

func (e *embedded) peerGateway(c *content) (http.Handler, error) {
	backend, err := e.peerBackend()
	if err != nil {
		return nil, err
	}
	serve := gateway.NewHandler(gateway.Config{
		NoDNSLink: true, DisableHTMLErrors: true,
		RetrievalTimeout: serveStall, MaxRequestDuration: serveLimit, MaxConcurrentRequests: maxServed,
		MetricsRegistry: prometheus.NewRegistry(),
	}, backend)
	meta := &libp2phttp.WellKnownHandler{}
	meta.AddProtocolMeta(gatewayProtocol, libp2phttp.ProtocolMeta{Path: "/"})
	mux := http.NewServeMux()
	mux.Handle(libp2phttp.WellKnownProtocols, meta)
	mux.Handle("GET /ipfs/", e.undenied(newCARServer(c, withUnsent(serve))))
	mux.Handle("GET "+pullingPath+"{cid}", c.supply.spread)
	return mux, nil
}

// undenied is next without the paths that a denylist names. The CIDs of blocks
// are looked at where they are read.
func (e *embedded) undenied(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p, err := path.NewPath(r.URL.Path); err == nil && e.deniedPath(p) != nil {
			refuseDenied(w, r.URL.Path)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuseDenied tells a peer what is denied, as boxo's gateway does.
func refuseDenied(w http.ResponseWriter, what string) {
	http.Error(w, fmt.Sprintf("send %.200q: this node must not, ask another", what), http.StatusGone)
}
