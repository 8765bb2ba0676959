package node

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

const benchSize = 119 << 20

// BenchmarkCold compares a cold blob from one peer with a plain HTTP GET of the
// same bytes, both 25 ms away each way. Run it with -benchtime 3x.
func BenchmarkCold(b *testing.B) {
	seed := startNode(b, loopback(b.TempDir()))
	data := randomBytes(9, benchSize)
	file, err := seed.AddFile(b.Context(), bytes.NewReader(data), publish.UnixFSv1)
	if err != nil {
		b.Fatal(err)
	}
	for _, delay := range []time.Duration{0, 25 * time.Millisecond} {
		b.Run("plain HTTP/"+delay.String(), func(b *testing.B) {
			url := servePlain(b, data, delay)
			for b.Loop() {
				getPlain(b, url)
			}
			b.SetBytes(benchSize)
		})
		b.Run("node/"+delay.String(), func(b *testing.B) {
			b.SetBytes(benchSize)
			var first time.Duration
			n, crossed := 0, int64(0)
			for b.Loop() {
				b.StopTimer()
				p, addr := proxied(b, seed, delay)
				leech := startNode(b, loopback(b.TempDir(), addr))
				speaksHTTP(b, leech)
				b.StartTimer()
				begun := time.Now()
				f, err := leech.Open(b.Context(), image.Path{Root: file})
				if err != nil {
					b.Fatal(err)
				}
				first += time.Since(begun)
				n++
				if got, err := f.(image.LimitedWriterTo).WriteNTo(io.Discard, benchSize); err != nil || got != benchSize {
					b.Fatal(got, err)
				}
				b.StopTimer()
				_ = f.Close()
				crossed += p.received.Load()
				b.StartTimer()
			}
			b.ReportMetric(float64(crossed)/float64(n)/benchSize, "copies")
			b.ReportMetric(float64(first.Milliseconds())/float64(n), "ms-first")
		})
	}
}

// speaksHTTP waits until the node knows a peer that it can ask for streams.
func speaksHTTP(t testing.TB, n *Node) {
	eventually(t, "no peer that speaks HTTP", func() bool { return len(n.supply.sources()) > 0 })
}

func servePlain(t testing.TB, data []byte, delay time.Duration) string {
	name := t.TempDir() + "/blob"
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return "http://" + newDelayProxy(t, l.Addr().String(), delay).addr()
}

func getPlain(t testing.TB, url string) {
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != benchSize {
		t.Fatal(n, err)
	}
}
