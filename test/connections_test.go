package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Two thousand idle connections and fifty clients that do not read keep nobody
// else from being served.
func TestManyConnections(t *testing.T) {
	p, images := publishedImages(t), testImages(t)
	l := images.real.manifest(t).Layers[0]
	url := p.url("%s/blobs/%s", p.layouts["real"], l.Digest)
	for range 2000 {
		idle(t, p.host)
	}
	for range 50 {
		slow := slowReader(t, url)
		defer slow.Close()
	}
	began := time.Now()
	a := request(t, "GET", url)
	if int64(len(a.body)) != l.Size {
		t.Errorf("%s with %d bytes", a.Status, len(a.body))
	}
	must(t, command(t.Context(), tool("crane"), "manifest", p.name(p.layouts["real"])))
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a pull among them took %s", took)
	}
}

// A client that goes away in the middle stops the work that was done for it.
func TestCancelledClients(t *testing.T) {
	p, images := publishedImages(t), testImages(t)
	url := p.url("%s/blobs/%s", p.layouts["real"], images.real.manifest(t).Layers[0].Digest)
	for range 50 {
		slowReader(t, url).Close()
	}
	eventually(t, 15*time.Second, "no request is in flight", func() error {
		if n := metric(t, p.daemon, "ipfs_registry_requests_in_flight"); n > 0 {
			return fmt.Errorf("%v are", n)
		}
		return nil
	})
}

// So does one that goes away while its image is looked for.
func TestCancelledClientOfAnAbsentImage(t *testing.T) {
	var asked, open atomic.Int32
	gateway := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		open.Add(1)
		defer open.Add(-1)
		<-r.Context().Done()
	}))
	t.Cleanup(func() { gateway.CloseClientConnections(); gateway.Close() })
	cid := push(t, tempDir(t), testImages(t).scratch.spec())
	d := serve(t, tempDir(t), "--offline", "--gateway", gateway.URL, "--fetch-timeout", "10m")
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url("%s/manifests/latest", cid), nil)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { _, err := http.DefaultClient.Do(req); gone <- err }()
	requests := func(what string, n *atomic.Int32, ok func(int32) bool) {
		eventually(t, 15*time.Second, what, func() error {
			if n := n.Load(); !ok(n) {
				return fmt.Errorf("the gateway has %d requests", n)
			}
			return nil
		})
	}
	requests("the gateway is asked", &asked, func(n int32) bool { return n > 0 })
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the client was told %v", err)
	}
	requests("the gateway is left in peace", &open, func(n int32) bool { return n == 0 })
}

// idle keeps a connection open that has made a request.
func idle(t *testing.T, host string) {
	t.Helper()
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
}

// slowReader asks for url, sees that the answer begins, and reads no more.
func slowReader(t *testing.T, url string) net.Conn {
	t.Helper()
	rest := strings.TrimPrefix(url, "http://")
	host, path, _ := strings.Cut(rest, "/")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /"+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	status := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(conn, status); err != nil || string(status) != "HTTP/1.1 200" {
		t.Fatalf("%s: %q %v", url, status, err)
	}
	return conn
}
