package node

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

func TestRedirectsToPrivateNetworks(t *testing.T) {
	inside, err := url.Parse(serveGateway(t, http.NotFoundHandler()))
	if err != nil {
		t.Fatal(err)
	}
	for gateway, allowed := range map[string]bool{"https://192.0.2.1": false, "https://10.1.2.3": true, "http://127.0.0.9": true, inside.String(): true} {
		u, err := url.Parse(gateway)
		if err != nil {
			t.Fatal(err)
		}
		d := newGuardedDialer(u)
		for _, addr := range []string{inside.Host, "localhost:" + inside.Port()} {
			if dials(t, d, addr) != allowed {
				t.Errorf("%s redirected to %s: want %v", gateway, addr, allowed)
			}
		}
	}
}

// redirecting is a gateway that sends whoever asks to another.
func redirecting(to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to+r.URL.RequestURI(), http.StatusFound)
	})
}

// visited is a gateway that counts who comes.
type visited struct {
	http.Handler
	asked atomic.Int32
}

func (v *visited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.asked.Add(1)
	v.Handler.ServeHTTP(w, r)
}

// redirected is a node with one gateway, which has some time unless it is refused.
func redirected(t *testing.T, gateway, refusal string) *Node {
	t.Helper()
	if refusal == "" {
		return behind(t, patience, gateway)
	}
	return behind(t, time.Second, gateway)
}

// transportOf is that of the only gateway of a node that has asked nothing yet.
func transportOf(t *testing.T, n *Node) *http.Transport {
	t.Helper()
	transport, ok := n.supply.sources()[0].client.Transport.(*http.Transport)
	if !ok {
		t.Fatal("the gateway has another transport")
	}
	return transport
}

// reads checks what a cold read that is redirected comes to: all of a file, or an
// error that says why not, and then nobody came.
func (v *visited) reads(t *testing.T, n *Node, root cid.Cid, data []byte, refusal string) {
	t.Helper()
	got, err := readCold(t, n, image.Path{Root: root})
	if refusal == "" && (err != nil || !bytes.Equal(got, data)) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if refusal != "" && (image.ClassOf(err) != image.Unavailable || !strings.Contains(err.Error(), refusal)) {
		t.Errorf("read %d bytes, %v; want an error with %q", len(got), err, refusal)
	}
	if asked := v.asked.Load(); asked > 0 != (refusal == "") {
		t.Errorf("%d requests came by the redirect", asked)
	}
}

// Who is asked by https leads nobody to plain http, also not by way of another who
// is asked by https.
func TestRedirectsToPlainHTTP(t *testing.T) {
	st := memoryStore(t)
	root, data := shape{size: 30_001, chunk: 1000, links: 3, raw: true}.build(t, offlineContent(st).dag)
	secure := func(h http.Handler) *httptest.Server {
		s := httptest.NewTLSServer(h)
		t.Cleanup(s.Close)
		return s
	}
	for _, steps := range []int{1, 2} {
		for _, plain := range []bool{false, true} {
			var to, refusal string
			v := &visited{Handler: honest(t, st)}
			if plain {
				to, refusal = serveGateway(t, v), `scheme "http"`
			} else {
				to = secure(v).URL
			}
			if steps == 2 {
				to = secure(redirecting(to)).URL
			}
			gateway := secure(redirecting(to))
			n := redirected(t, gateway.URL, refusal)
			transportOf(t, n).TLSClientConfig = gateway.Client().Transport.(*http.Transport).TLSClientConfig
			v.reads(t, n, root, data, refusal)
		}
	}
}

// A gateway of the public network leads nobody to an address that is not public;
// one that has such an address itself does.
func TestRedirectsAreDialedWithCare(t *testing.T) {
	st := memoryStore(t)
	root, data := shape{size: 30_001, chunk: 1000, links: 3, raw: true}.build(t, offlineContent(st).dag)
	for gateway, refusal := range map[string]string{"192.0.2.1": "an address of a private network", "10.1.2.3": ""} {
		v := &visited{Handler: honest(t, st)}
		inside := serveGateway(t, v)
		at := strings.TrimPrefix(serveGateway(t, redirecting(inside)), "http://")
		n := redirected(t, "http://"+gateway, refusal)
		transport := transportOf(t, n)
		transport.Proxy = nil // the gateway is on this machine
		guarded := transport.DialContext
		transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == gateway+":80" {
				return new(net.Dialer).DialContext(ctx, network, at)
			}
			return guarded(ctx, network, addr)
		}
		v.reads(t, n, root, data, refusal)
	}
}

// dials reports whether a connection to an address was made.
func dials(t *testing.T, d *guardedDialer, addr string) bool {
	t.Helper()
	conn, err := d.dial(t.Context(), "tcp", addr)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// Where the gateway is, is what its name said at first: who answers for the name
// can't have us dial what only we can reach by another answer later on.
func TestNamesOfGatewaysThatMove(t *testing.T) {
	inside, err := url.Parse(serveGateway(t, http.NotFoundHandler()))
	if err != nil {
		t.Fatal(err)
	}
	own, other := "localhost:"+inside.Port(), "127.0.0.1:"+inside.Port()
	public, private, here := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("127.0.0.1")
	for _, test := range []struct {
		name       string
		gateway    string
		answers    [][]netip.Addr // nil is none; the last stays
		own, other bool           // dialed, in the end
	}{
		{"public, then private", "http://" + own, [][]netip.Addr{{public}, {here}}, false, false},
		{"its own name, another port", "http://localhost:1", [][]netip.Addr{{public}, {here}}, false, false},
		{"unknown, then public, then private", "http://" + own, [][]netip.Addr{nil, nil, {public}, {here}}, false, false},
		{"unknown, then private", "http://" + own, [][]netip.Addr{nil, nil, {here}}, true, true},
		{"private, then public", "http://" + own, [][]netip.Addr{{here}, {public}}, true, true},
		{"another private one", "http://" + own, [][]netip.Addr{{private}}, true, true},
		{"in both", "http://" + own, [][]netip.Addr{{public, here}}, true, false},
		{"in both, another port", "http://localhost:1", [][]netip.Addr{{public, here}}, false, false},
		{"in both, another address", "http://" + own, [][]netip.Addr{{public, private}}, false, false},
	} {
		u, err := url.Parse(test.gateway)
		if err != nil {
			t.Fatal(err)
		}
		d, asked := newGuardedDialer(u), 0
		d.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			ips := test.answers[min(asked, len(test.answers)-1)]
			if asked++; ips == nil {
				return nil, errors.New("no such host")
			}
			return ips, nil
		}
		for range test.answers {
			_, _ = dials(t, d, own), dials(t, d, other)
		}
		if to, at := dials(t, d, own), dials(t, d, other); to != test.own || at != test.other {
			t.Errorf("%s: its own name is dialed: %v, want %v; another: %v, want %v", test.name, to, test.own, at, test.other)
		}
	}
}

// A name that says it is in a private network and is not, is in none.
func TestNamesOfGatewaysThatLie(t *testing.T) {
	d := newGuardedDialer(&url.URL{Scheme: "http", Host: "gateway.example"})
	d.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
	}
	if err := d.know(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.admit(false, "10.0.0.9:80"); err != nil {
		t.Error(err)
	}
	if err := d.admit(true, "192.0.2.1:80"); err != nil {
		t.Error(err)
	}
	if err := d.admit(false, "10.0.0.9:80"); err == nil {
		t.Error("it had a public address in truth, and may redirect to a private one")
	}
}
