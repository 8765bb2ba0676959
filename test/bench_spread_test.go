package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	atOnce = 4
	// seedRate is how fast the seed's link is, in bytes a second.
	seedRate = 25_000_000
)

// BenchmarkSpread has several nodes pull the same layer at once from one that
// has it, over slow links, and counts what that one sends.
func BenchmarkSpread(b *testing.B) {
	images := testImages(b)
	layer := images.real.manifest(b).Layers[0]
	link, seed := &slowLink{rate: seedRate}, serve(b, tempDir(b))
	cid, address := push(b, seed.repo, images.real.spec()), seed.address(b)
	_, rest, _ := strings.Cut(address, "/tcp/")
	seedPort, peer, _ := strings.Cut(rest, "/")
	for b.Loop() {
		var known, urls []string
		var nodes []*daemon
		for range atOnce {
			listen := link.port(b, "127.0.0.1:"+seedPort)
			d := serve(b, tempDir(b), append([]string{"--peer", "/ip4/127.0.0.1/tcp/" + listen + "/" + peer}, known...)...)
			known = append(known, "--peer", d.address(b))
			urls, nodes = append(urls, d.url("%s/blobs/%s", cid, layer.Digest)), append(nodes, d)
		}
		before, began := link.sent.Load(), time.Now()
		getAll(b, urls, layer.Size)
		took := time.Since(began)
		copies := float64(link.sent.Load()-before) / float64(layer.Size)
		for _, d := range nodes {
			d.stop()
		}
		b.ReportMetric(copies, "copies")
		text := fmt.Sprintf("| | copies that the seed sent | time, s |\n| --- | --- | --- |\n| %d nodes that know each other pull at once, the seed's link has %d MB/s | %.2f | %.1f |\n",
			atOnce, seedRate/1_000_000, copies, took.Seconds())
		fmt.Println(text)
		if *update {
			writeReport(b, "spread", text)
		}
	}
}

// getAll gets all the URLs at once, each of a size.
func getAll(b *testing.B, urls []string, size int64) {
	b.Helper()
	var group sync.WaitGroup
	for _, url := range urls {
		group.Go(func() {
			res, err := http.Get(url)
			if err != nil {
				b.Error(err)
				return
			}
			defer res.Body.Close()
			if n, err := io.Copy(io.Discard, res.Body); err != nil || n != size {
				b.Errorf("%s: %s, %d bytes, %v", url, res.Status, n, err)
			}
		})
	}
	group.Wait()
}

// slowLink is the link of a host: all that passes it shares its speed.
type slowLink struct {
	rate int64 // bytes a second
	sent atomic.Int64

	mu   sync.Mutex
	free time.Time
}

// port is a port on loopback that leads over the link to an address.
func (l *slowLink) port(b *testing.B, upstream string) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", upstream)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, &linkReader{out, l}); _ = in.Close() }()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

type linkReader struct {
	io.Reader
	link *slowLink
}

func (r *linkReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.link.sent.Add(int64(n))
	r.link.mu.Lock()
	if now := time.Now(); r.link.free.Before(now) {
		r.link.free = now
	}
	r.link.free = r.link.free.Add(time.Duration(n) * time.Second / time.Duration(r.link.rate))
	due := r.link.free
	r.link.mu.Unlock()
	<-time.After(time.Until(due))
	return n, err
}
