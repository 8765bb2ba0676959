package node

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// A gateway that speaks HTTP/2 gets all parts of a file asked by one connection.
func TestGatewayHTTP2(t *testing.T) {
	st := memoryStore(t)
	root, data := shape{size: 20 << 20, chunk: 1 << 20, links: 174, raw: true}.build(t, offlineContent(st).dag)
	good := honest(t, st)
	var requests, older, connections atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.ProtoMajor != 2 {
			older.Add(1)
		}
		good.ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = true
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	n := behind(t, patience, s.URL)
	trusted := x509.NewCertPool()
	trusted.AddCert(s.Certificate())
	n.supply.sources()[0].prober = nil // which has connections of its own
	n.supply.sources()[0].client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: trusted}
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if requests.Load() < 2 || older.Load() > 0 || connections.Load() != 1 {
		t.Errorf("%d requests, %d of them not by HTTP/2, and %d connections; want several by one", requests.Load(), older.Load(), connections.Load())
	}
}
