package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/exchange/offline"
	boxogateway "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/go-cid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// honest is a trustless gateway of what a store has.
func honest(t testing.TB, s *store) http.Handler {
	t.Helper()
	backend, err := boxogateway.NewBlocksBackend(blockservice.New(s, offline.Exchange(s.Blockstore)))
	if err != nil {
		t.Fatal(err)
	}
	return boxogateway.NewHandler(boxogateway.Config{MetricsRegistry: prometheus.NewRegistry(), RetrievalTimeout: time.Minute}, backend)
}

func serveGateway(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}

// behind is a node without any libp2p host, with gateways.
func behind(t testing.TB, timeout time.Duration, gateways ...string) *Node {
	t.Helper()
	return startNode(t, Options{RepoPath: t.TempDir(), Gateways: gateways, FetchTimeout: timeout})
}

func readCold(t testing.TB, n *Node, p image.Path) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f, err := n.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var got bytes.Buffer
	_, err = f.(image.LimitedWriterTo).WriteNTo(&got, f.Size())
	return got.Bytes(), err
}

func TestGatewayIsEnough(t *testing.T) {
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			st := memoryStore(t)
			root, data := s.build(t, offlineContent(st).dag)
			url := serveGateway(t, honest(t, st))
			n := behind(t, patience, url)
			if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("read %d bytes, %v; want %d", len(got), err, len(data))
			}
		})
	}
}

// isProbe reports whether a gateway is asked for what it surely has, as it is when
// it seems to be silent.
func isProbe(r *http.Request) bool { return strings.HasPrefix(emptyBlock, r.URL.Path) }

// A path costs one request, and its blocks are kept.
func TestGatewayPath(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	data := randomBytes(4, 3<<20)
	p := image.Path{Root: addDir(t, seed, data)}.Join("blobs", "sha256", "x")
	var requests atomic.Int32
	served := honest(t, &store{Blockstore: kuboOf(t, seed).node.Blockstore})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isProbe(r) {
			requests.Add(1)
		}
		served.ServeHTTP(w, r)
	}))
	n := behind(t, patience, server.URL+"/ipfs/")
	if got, err := readCold(t, n, p); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if requests.Load() != 1 {
		t.Errorf("%d requests, want 1", requests.Load())
	}
	server.Close()
	if got, err := readCold(t, n, p); err != nil || !bytes.Equal(got, data) {
		t.Errorf("without the gateway: read %d bytes, %v", len(got), err)
	}
	blocks := testutil.ToFloat64(n.supply.metrics.blocks.WithLabelValues(strings.TrimPrefix(server.URL, "http://")))
	if blocks != 3+1+3 {
		t.Errorf("%v blocks are counted", blocks)
	}
}

// refusing is a gateway that sends single blocks and answers with a status who asks
// for a CAR.
type refusing struct {
	http.Handler
	status int
	cars   atomic.Int32 // requests
}

func (g *refusing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("format") != "car" && !strings.Contains(r.Header.Get("Accept"), carType) {
		g.Handler.ServeHTTP(w, r)
		return
	}
	g.cars.Add(1)
	w.WriteHeader(g.status)
}

// A gateway that sends no CARs is asked for one once, and for single blocks from
// then on, through directories and all levels of a file. With status 200 what it
// sends is of another type.
func TestGatewayWithoutCARs(t *testing.T) {
	st := memoryStore(t)
	c := offlineContent(st)
	root, data := shape{size: 30_001, chunk: 1000, links: 3, raw: true}.build(t, c.dag)
	dir, err := c.AddDir(t.Context(), map[string]cid.Cid{"blobs/sha256/x": root}, publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{http.StatusBadRequest, http.StatusNotAcceptable, http.StatusUnsupportedMediaType, http.StatusNotImplemented, http.StatusOK} {
		for _, p := range []image.Path{{Root: root}, image.Path{Root: dir}.Join("blobs", "sha256", "x")} {
			g := &refusing{Handler: honest(t, st), status: status}
			n := behind(t, 10*time.Second, serveGateway(t, g))
			if got, err := readCold(t, n, p); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d, %s: read %d bytes, %v", status, p, len(got), err)
			}
			if got := g.cars.Load(); got != 1 {
				t.Errorf("%d, %s: it was asked for %d CARs, want 1", status, p, got)
			}
		}
	}
}

// altered is a gateway that answers with what change makes of a good answer.
func altered(change func(w http.ResponseWriter, r *http.Request, body []byte)) func(http.Handler) http.Handler {
	return func(good http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			good.ServeHTTP(rec, r)
			w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
			change(w, r, rec.Body.Bytes())
		})
	}
}

// hostile are the ways in which a gateway can be bad. Each gets a good one.
func hostile() map[string]func(good http.Handler) http.Handler {
	status := func(code int, header ...string) func(http.Handler) http.Handler {
		return altered(func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
		})
	}
	return map[string]func(http.Handler) http.Handler{
		"wrong bytes": altered(func(w http.ResponseWriter, _ *http.Request, body []byte) {
			body = bytes.Clone(body)
			body[len(body)-1] ^= 1
			_, _ = w.Write(body)
		}),
		"wrong bytes everywhere": altered(func(w http.ResponseWriter, _ *http.Request, body []byte) {
			body = bytes.Clone(body)
			for i := 200; i < len(body); i += 1000 {
				body[i] ^= 1
			}
			_, _ = w.Write(body)
		}),
		"truncated with status 200": altered(func(w http.ResponseWriter, _ *http.Request, body []byte) { _, _ = w.Write(body[:len(body)*2/3]) }),
		"nothing with status 200":   altered(func(http.ResponseWriter, *http.Request, []byte) {}),
		"connection cut": altered(func(w http.ResponseWriter, _ *http.Request, body []byte) {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			_, _ = w.Write(body[:len(body)/2])
			panic(http.ErrAbortHandler)
		}),
		"endless zeroes": altered(func(w http.ResponseWriter, r *http.Request, body []byte) {
			_, _ = w.Write(body[:len(body)/3])
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}),
		"endless blocks nobody wants": altered(func(w http.ResponseWriter, r *http.Request, body []byte) {
			_, _ = w.Write(body[:carHeader(body)])
			for r.Context().Err() == nil {
				if _, err := w.Write(unwanted()); err != nil {
					return
				}
			}
		}),
		"huge section": altered(func(w http.ResponseWriter, _ *http.Request, body []byte) {
			_, _ = w.Write(body[:min(len(body), carHeader(body))])
			_, _ = w.Write([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
		}),
		"429": status(http.StatusTooManyRequests, "Retry-After", "100"),
		"503": status(http.StatusServiceUnavailable),
		"500": status(http.StatusInternalServerError),
		"404": status(http.StatusNotFound),
		"HTML": altered(func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<p>hello")
		}),
		"redirect loop":   status(http.StatusFound, "Location", "?again"),
		"redirect to ftp": status(http.StatusFound, "Location", "ftp://127.0.0.1/"),
		"stall at first": func(http.Handler) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		},
		"stall in the end": altered(func(w http.ResponseWriter, r *http.Request, body []byte) {
			_, _ = w.Write(body[:len(body)*2/3])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}),
	}
}

// carHeader is the length of the header of a CAR.
func carHeader(body []byte) int {
	if len(body) == 0 {
		return 0
	}
	return min(int(body[0])+1, len(body))
}

// unwanted is a section of a CAR with a block of zeroes that hashes right.
func unwanted() []byte {
	data := make([]byte, 60<<10)
	c, err := cid.V1Builder{Codec: cid.Raw, MhType: 0x12}.Sum(data)
	if err != nil {
		panic(err)
	}
	size := len(c.Bytes()) + len(data)
	section := []byte{byte(size) | 0x80, byte(size>>7) | 0x80, byte(size >> 14)}
	return append(append(section, c.Bytes()...), data...)
}

func TestHostileGateway(t *testing.T) {
	st := memoryStore(t)
	root, data := shape{size: 11<<20 + 5, chunk: 1 << 20, links: 5, raw: true}.build(t, offlineContent(st).dag)
	good := honest(t, st)
	for name, bad := range hostile() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			badURL := serveGateway(t, bad(good))
			t.Run("with another left", func(t *testing.T) {
				goodURL := serveGateway(t, good)
				n := behind(t, 20*time.Second, badURL, goodURL)
				if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
				if counted(t, n, "ipfs_registry_retrieval_first_byte_seconds", strings.TrimPrefix(goodURL, "http://")) == 0 {
					t.Error("it is not measured how long the good one took to answer")
				}
			})
			t.Run("alone", func(t *testing.T) {
				secret := strings.Replace(badURL, "http://", "http://user:hunter2@", 1)
				n := behind(t, 2*time.Second, secret)
				begun := time.Now()
				got, err := readCold(t, n, image.Path{Root: root})
				if image.ClassOf(err) != image.Unavailable || !bytes.HasPrefix(data, got) {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
				if took := time.Since(begun); took > 20*time.Second {
					t.Errorf("it took %s", took)
				}
				host := strings.TrimPrefix(badURL, "http://")
				if err != nil && (!strings.Contains(err.Error(), host) || strings.Contains(err.Error(), "hunter2")) {
					t.Errorf("the error should name %s, and no password: %v", host, err)
				}
				// Of who stalls the reader may hear first.
				eventually(t, "that the gateway failed is counted", func() bool {
					return counted(t, n, "ipfs_registry_retrieval_errors_total", host) > 0
				})
			})
		})
	}
}

// counted is what a metric of retrievals has for a source: of a counter its value,
// of a histogram how often it was measured.
func counted(t *testing.T, n *Node, metric, source string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(n.supply.metrics)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == metric && m.GetLabel()[0].GetValue() == source {
				return m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}

// Who does not wait for long hears nothing of a source that all but stops while
// another is left.
func TestTrickleIsLeftInTime(t *testing.T) {
	st := memoryStore(t)
	root, data := shape{size: 3<<20 + 5, chunk: 1 << 20, links: 5, raw: true}.build(t, offlineContent(st).dag)
	good := honest(t, st)
	trickle := altered(func(w http.ResponseWriter, r *http.Request, body []byte) {
		first := min(1<<20+8<<10, len(body)) // a leaf, and what leads to it
		_, _ = w.Write(body[:first])
		for _, b := range body[first:] {
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(100 * time.Millisecond):
				_, _ = w.Write([]byte{b})
			}
		}
	})
	n := behind(t, slowAfter-200*time.Millisecond, serveGateway(t, trickle(good)), serveGateway(t, good))
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// However short the time is that a reader waits, another source is asked within it.
func TestAnotherSourceIsAskedWhileAReaderWaits(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		time.Minute: slowAfter, 3 * slowAfter: slowAfter, slowAfter: slowAfter / 3, time.Second: time.Second / 3,
	} {
		r := &race{job: &job{supply: newSupply(nil, timeout)}}
		if got := r.patience(slowAfter); got != want {
			t.Errorf("of %s a source has %s, want %s", timeout, got, want)
		}
	}
}

// A source that sends on and on what nobody wants, as one does that sends all of a
// file in place of a range, is not waited for while another is left; and the next
// time it is asked after the other.
func TestWhatNobodyWantsIsNoProgress(t *testing.T) {
	st := memoryStore(t)
	root, data := shape{size: 11<<20 + 5, chunk: 1 << 20, links: 5, raw: true}.build(t, offlineContent(st).dag)
	good := honest(t, st)
	var asked atomic.Int32
	useless := altered(func(w http.ResponseWriter, r *http.Request, body []byte) {
		asked.Add(1)
		_, _ = w.Write(body[:carHeader(body)])
		for r.Context().Err() == nil {
			_, _ = w.Write(unwanted())
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(200 * time.Millisecond): // 8 MiB would take 28 s
			}
		}
	})
	n := behind(t, 6*time.Second, serveGateway(t, useless(good)), serveGateway(t, good))
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if got := asked.Load(); got > 2 {
		t.Errorf("it was asked %d times", got)
	}
}

// Who waits in vain hears whether the gateway is stalled, or answers and has not
// found this, as one does that looks for it itself.
func TestStalledOrNotFound(t *testing.T) {
	st := memoryStore(t)
	root, _ := bigShape().build(t, offlineContent(st).dag)
	for says, probed := range map[string]http.HandlerFunc{
		"it answers, and has not found this":           honest(t, st).ServeHTTP,
		"it answers nothing, whatever it is asked for": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			n := behind(t, 3*time.Second, serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/ipfs/bafkqaaa") {
					asked.Add(1)
					probed(w, r)
					return
				}
				<-r.Context().Done()
			})))
			for range 2 {
				_, err := readCold(t, n, image.Path{Root: root})
				if image.ClassOf(err) != image.Unavailable || !strings.Contains(err.Error(), says) {
					t.Errorf("%v; want that %s", err, says)
				}
			}
			if asked.Load() == 0 || asked.Load() > 2 {
				t.Errorf("asked %d times", asked.Load())
			}
		})
	}
}

func TestGatewayTLSFailure(t *testing.T) {
	st := memoryStore(t)
	root, data := bigShape().build(t, offlineContent(st).dag)
	untrusted := httptest.NewUnstartedServer(honest(t, st))
	untrusted.Config.ErrorLog = quietLog()
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	n := behind(t, 2*time.Second, untrusted.URL)
	_, err := readCold(t, n, image.Path{Root: root})
	if image.ClassOf(err) != image.Unavailable || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("alone: %v", err)
	}
	n = behind(t, patience, untrusted.URL, serveGateway(t, honest(t, st)))
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("with another: read %d bytes, %v", len(got), err)
	}
}

// A gateway that says when to come again is left alone until then.
func TestGatewayRetryAfter(t *testing.T) {
	st := memoryStore(t)
	root, data := bigShape().build(t, offlineContent(st).dag)
	good := honest(t, st)
	var until atomic.Int64
	var early atomic.Int32
	url := serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now().UnixNano()
		if until.CompareAndSwap(0, now+int64(time.Second)) || now < until.Load()-int64(50*time.Millisecond) {
			if now != until.Load()-int64(time.Second) {
				early.Add(1)
			}
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		good.ServeHTTP(w, r)
	}))
	if got, err := readCold(t, behind(t, patience, url), image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if early.Load() > 0 {
		t.Errorf("%d requests came too early", early.Load())
	}
}

// Of the streams with which an image begins some ask for what may not be there:
// that they ended is no reason to ask again what told all of them to wait.
func TestGatewayRetryAfterOfAnImage(t *testing.T) {
	const atOnce = 4 // as TestALayoutComesWithItsRoot has it
	st := memoryStore(t)
	b := imagetest.Blobs{}
	root := b.Layout(adder{t, offlineContent(st)}, nil, b.Image("amd64", []byte("layer")))
	var asked atomic.Int32
	all := make(chan struct{})
	n := behind(t, 3*time.Second, serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/ipfs/bafkqaaa") { // nothing came for a second
			return
		}
		if asked.Add(1) == atOnce {
			close(all)
		}
		<-all
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	})))
	_, err := newResolver(n.content).Manifest(t.Context(), image.Path{Root: root}, "latest")
	if image.ClassOf(err) != image.Unavailable || !strings.Contains(err.Error(), "429") {
		t.Error(err)
	}
	if got := asked.Load(); got != atOnce {
		t.Errorf("the gateway was asked %d times, %d at once; it had said to wait", got, atOnce)
	}
}

// A server that answers all with a page, as one in which to log in does, is asked
// as seldom as one that fails.
func TestGatewayOfPages(t *testing.T) {
	st := memoryStore(t)
	root, _ := bigShape().build(t, offlineContent(st).dag)
	var asked atomic.Int32
	n := behind(t, 3*time.Second, serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<p>hello")
	})))
	_, err := readCold(t, n, image.Path{Root: root})
	if image.ClassOf(err) != image.Unavailable || !strings.Contains(err.Error(), "text/html") {
		t.Error(err)
	}
	if got := asked.Load(); got > 20 {
		t.Errorf("it was asked %d times in 3 s", got)
	}
}

// A gateway that wants to be left alone in the middle of a file keeps no reader
// waiting while another is left: what it has not sent is asked of that one.
func TestGatewayBusyInTheMiddle(t *testing.T) {
	st := memoryStore(t)
	root, data := shape{size: 40 << 20, chunk: 1 << 20, links: 1024, raw: true}.build(t, offlineContent(st).dag)
	good := honest(t, st)
	var asked atomic.Int32
	busy := serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 3 {
			w.Header().Set("Retry-After", "100")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		good.ServeHTTP(w, r)
	}))
	n := behind(t, 20*time.Second, busy, serveGateway(t, good))
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	for i, s := range n.supply.sources() {
		if blocksFrom(n, s.label) == 0 {
			t.Errorf("gateway %d sent nothing", i)
		}
	}
	if asked.Load() <= 3 {
		t.Error("it was never busy")
	}
}

func TestGatewayToken(t *testing.T) {
	st := memoryStore(t)
	root, data := bigShape().build(t, offlineContent(st).dag)
	good := honest(t, st)
	var elsewhere atomic.Value
	elsewhere.Store("")
	other := serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere.Store(r.Header.Get("Authorization") + r.Header.Get("Referer"))
		good.ServeHTTP(w, r)
	}))
	other = strings.Replace(other, "127.0.0.1", "localhost", 1)
	gateway := serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer open sesame" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, other+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}))
	file := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong secret")
	n := startNode(t, Options{RepoPath: t.TempDir(), Gateways: []string{gateway}, GatewayTokenFile: file, FetchTimeout: time.Second})
	_, err := readCold(t, n, image.Path{Root: root})
	if image.ClassOf(err) != image.Unavailable || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error(), "wrong secret") {
		t.Errorf("with another token: %v", err)
	}
	write("open sesame\n")
	eventually(t, "the token is read again", func() bool {
		got, err := readCold(t, n, image.Path{Root: root})
		return err == nil && bytes.Equal(got, data)
	})
	if got := elsewhere.Load(); got != "" {
		t.Errorf("another host was sent %q", got)
	}
	_, err = Open(t.Context(), Options{RepoPath: t.TempDir(), Gateways: []string{"http://gateway.example"}, GatewayTokenFile: file})
	if image.ClassOf(err) != image.Malformed {
		t.Errorf("a token over plain http: %v", err)
	}
}

// A gateway's URL that could not mean what it says is refused, and why.
func TestGatewayURLs(t *testing.T) {
	for raw, want := range map[string]string{
		"https://gateway.example/ipfs/":      "",
		"http://[::1]:8080":                  "",
		"http://xn--bcher-kva.example":       "",
		"https://bücher.example":             "write it as DNS does",
		"gateway.example":                    "it is no http:// or https:// URL",
		"ftp://gateway.example":              "it is no http:// or https:// URL",
		"https://gateway.example?token=1234": "a query",
		"https://gateway.example/%zz":        "it is no URL",
	} {
		_, err := newGateway(raw, Options{})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// drain reads a file to its end or to its error.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, onlyReader{r})
	return err
}

// A source that has a part of something sends that part and breaks off, as boxo
// does, which is no reason to leave it alone.
func TestGatewayWithAPart(t *testing.T) {
	whole, part := memoryStore(t), memoryStore(t)
	root, data := bigShape().build(t, offlineContent(whole).dag)
	keys, err := whole.AllKeysChan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for c := range keys {
		b, err := whole.Get(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := part.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	links, err := offlineContent(whole).dag.Get(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if err := part.DeleteBlock(t.Context(), links.Links()[len(links.Links())/2].Cid); err != nil {
		t.Fatal(err)
	}
	n := behind(t, time.Second, serveGateway(t, honest(t, part)))
	if _, err := readCold(t, n, image.Path{Root: root}); err == nil || !strings.Contains(err.Error(), errTruncated.Error()) {
		t.Errorf("read it all, or: %v", err)
	}
	if s := n.supply.sources()[0]; !s.usable(time.Now()) {
		t.Error("the source is left alone")
	}
	n = behind(t, patience, serveGateway(t, honest(t, part)), serveGateway(t, honest(t, whole)))
	if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("with another: read %d bytes, %v", len(got), err)
	}
}
