package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// delay is what the proxy adds in each direction: a round trip is twice that.
const delay = 25 * time.Millisecond

// coldRounds is how often every way is measured, and routeLimit how long it may
// take: nerdctl and Kubo have been seen to wait for a block for ever. It counts as
// that long then, the table says so, and the benchmark has failed.
const (
	coldRounds = 9
	routeLimit = 2 * time.Minute
)

var onlyRoutes = flag.String("routes", "", "of BenchmarkCold only the ways whose short name this expression matches, and what they are compared with")

// BenchmarkCold fetches one layer that is on another host, 50 ms away, into a
// node that has nothing, and compares with other ways over the same distance.
func BenchmarkCold(b *testing.B) {
	images := testImages(b)
	layer := images.real.manifest(b).Layers[0]
	routes := chosen(b, coldRoutes(b, images.real, layer.Digest))
	for b.Loop() {
		for range coldRounds {
			for _, r := range routes {
				r.measure(b, layer.Size)
			}
		}
	}
	text := coldReport(routes)
	fmt.Println(text)
	if *update {
		writeReport(b, "cold", text)
	}
	for _, r := range routes[1:] {
		b.ReportMetric(median(r.total)/median(routes[0].total), "times-"+strings.ReplaceAll(r.short, " ", "-"))
	}
}

// chosen returns the routes that were asked for, those that they are compared
// with, and the first, by which all are told.
func chosen(b *testing.B, all []*route) []*route {
	match, err := regexp.Compile(*onlyRoutes)
	if err != nil {
		b.Fatal(err)
	}
	wanted := map[string]bool{all[0].short: true}
	for _, r := range all {
		if match.MatchString(r.short) {
			wanted[r.short], wanted[r.against] = true, true
		}
	}
	some := slices.DeleteFunc(all, func(r *route) bool { return !wanted[r.short] })
	if len(some) == 1 && !match.MatchString(some[0].short) {
		b.Fatalf("there is no way whose short name matches %s", *onlyRoutes)
	}
	return some
}

// route is a way from the far host to a client.
type route struct {
	name, short string
	against     string   // the short name of what it is compared with
	far         []string // the directories of who serves it
	// open starts with nothing and returns the URL of the layer, and what
	// stops it. It calls started before it asks for anything.
	open func(started func()) (url string, stop func())
	// call says that the URL is a call, whose answer is not the layer.
	call         bool
	first, total []float64 // seconds
	late         late
}

// late is how often a way did not get there within the limit.
type late int

func (l *late) note(b *testing.B, name string) {
	b.Helper()
	*l++
	b.Errorf("%s: not done within %s", name, routeLimit)
}

// String is a remark for the table, most often none.
func (l late) String() string {
	if l == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d times not done within %s)", l, routeLimit)
}

// calm waits until nothing is left to be written of what was fetched before, and
// reads what is served and who serves it: neither the disk nor what the system
// keeps of it in memory is measured.
func calm(b *testing.B, paths ...string) {
	b.Helper()
	unix.Sync()
	for _, path := range append(paths, shared.program, filepath.Dir(tool("nerdctl"))) {
		if err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return ignoreAbsent(err)
			}
			f, err := os.Open(name)
			if err != nil {
				return ignoreAbsent(err)
			}
			defer f.Close()
			_, err = io.Copy(io.Discard, f)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// memoryAtHand takes memory from the system, more than anybody here uses, and
// returns what gives it back to be used next. Memory that a virtual machine has
// not used lately is its host's, and to get it takes more than ten times as long
// as to write to it: that too is not measured.
func memoryAtHand(b *testing.B) (giveBack func()) {
	b.Helper()
	f, err := os.CreateTemp("", "ir-memory-")
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(os.Remove(f.Name()), f.Truncate(1<<30)); err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, f); err != nil { // of a hole, which is in memory only
		b.Fatal(err)
	}
	return func() {
		if err := f.Close(); err != nil {
			b.Error(err)
		}
	}
}

// ignoreAbsent is for what goes away while it is looked at, as locks and sockets do.
func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// measure times a GET of the layer, to its first and to its last byte.
func (r *route) measure(b *testing.B, size int64) {
	b.Helper()
	calm(b, r.far...) // not later: once it is open it may fetch ahead
	url, stop := r.open(memoryAtHand(b))
	defer stop()
	ctx, cancel := context.WithTimeout(b.Context(), routeLimit)
	defer cancel()
	first, total, err := r.fetch(ctx, url, size)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		r.late.note(b, r.name)
	case err != nil:
		b.Fatalf("%s: %v", r.name, err)
	}
	r.first, r.total = append(r.first, first.Seconds()), append(r.total, total.Seconds())
}

// fetch returns when the first and the last byte came. What did not come within
// the limit counts as if it had come with it.
func (r *route) fetch(ctx context.Context, url string, size int64) (first, total time.Duration, err error) {
	began, method := time.Now(), http.MethodGet
	if r.call {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return routeLimit, routeLimit, err
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 1)); err != nil {
		return routeLimit, routeLimit, fmt.Errorf("%s: %w", res.Status, err)
	}
	first = time.Since(began)
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && (n+1 < size && !r.call || res.StatusCode != http.StatusOK) { // a CAR has more than the layer
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return first, routeLimit, fmt.Errorf("%s, %d bytes: %w", res.Status, n+1, err)
	}
	return first, time.Since(began), nil
}

func coldRoutes(b *testing.B, l layout, layer digest.Digest) []*route {
	far := startToxiproxy(b)
	seed, k, plain := serve(b, tempDir(b)), kuboNode(b), sourceRegistry(b)
	cid := push(b, seed.repo, l.spec())
	kuboCID := push(b, tempDir(b), "--ipfs-address", k.api, "--format", "nerdctl", "--chunker", "kubo-legacy", l.spec())
	gatewayCID := push(b, tempDir(b), "--ipfs-address", k.api, l.spec())
	streaming := kuboNode(b, settings{"Experimental.GatewayOverLibp2p": true})
	push(b, tempDir(b), "--ipfs-address", streaming.api, l.spec())
	plain.copyIn(b, l, "cold/real:v1")

	address := seed.address(b)
	_, rest, _ := strings.Cut(address, "/tcp/")
	seedPort, peer, _ := strings.Cut(rest, "/")
	seedFar := "/ip4/127.0.0.1/tcp/" + far.port(b, "127.0.0.1:"+seedPort) + "/" + peer
	kuboFar := "/ip4/127.0.0.1/tcp/" + far.port(b, "127.0.0.1:"+k.swarm[strings.LastIndex(k.swarm, "/")+1:]) + "/p2p/" + k.id
	plainFar, gatewayFar := "http://localhost:"+far.port(b, plain.host), "http://127.0.0.1:"+far.port(b, k.gateway)
	fixed := func(url string) func(func()) (string, func()) {
		return func(started func()) (string, func()) {
			started()
			return url, func() {}
		}
	}
	near := "/ipfs/" + gatewayCID + "/blobs/sha256/" + layer.Encoded()
	routes := []*route{
		{name: "plain HTTP, distribution", short: "plain HTTP", open: fixed(plainFar + "/v2/cold/real/blobs/" + layer.String())},
		{name: "ours from ours", short: "ours", against: "plain HTTP", open: coldOurs(b, cid, layer, "--peer", seedFar)},
		{name: "nerdctl ipfs registry + Kubo from Kubo", short: "nerdctl", against: "plain HTTP", open: coldNerdctl(b, kuboFar, kuboCID, layer)},
		{name: "ours from Kubo, only Bitswap", short: "ours by Bitswap", against: "nerdctl", open: coldOurs(b, kuboCID, layer, "--peer", kuboFar)},
		{name: "a CAR of Kubo's gateway, as curl gets it", short: "CAR", against: "plain HTTP",
			open: fixed(gatewayFar + "/ipfs/" + gatewayCID + "/blobs/sha256/" + layer.Encoded() + "?format=car&dag-scope=entity")},
		{name: "ours from Kubo's gateway", short: "ours by gateway", against: "CAR", open: coldOurs(b, gatewayCID, layer, "--gateway", gatewayFar)},
		{name: "on loopback: ipfs pin add from Kubo", short: "pin add", call: true, open: coldPinAdd(b, k.address(), near)},
		{name: "on loopback: ours from the same Kubo", short: "ours from Kubo nearby", against: "pin add", open: coldOurs(b, gatewayCID, layer, "--peer", k.address())},
		{name: "on loopback: ours from Kubo with GatewayOverLibp2p", short: "ours from streaming Kubo nearby", against: "pin add", open: coldOurs(b, gatewayCID, layer, "--peer", streaming.address())},
		{name: "on loopback: ours from ours", short: "ours nearby", against: "pin add", open: coldOurs(b, cid, layer, "--peer", address)},
	}
	for _, r := range routes {
		r.far = []string{seed.repo, k.repo, streaming.repo, plain.dir}
	}
	return routes
}

// coldOurs is a new node each time. It has been asked for the manifest, as
// clients do.
func coldOurs(b *testing.B, cid string, layer digest.Digest, flags ...string) func(func()) (string, func()) {
	return func(started func()) (string, func()) {
		d := serve(b, tempDir(b), flags...)
		started()
		if got := request(b, http.MethodGet, d.url("%s/manifests/latest", cid)); got.StatusCode != http.StatusOK {
			b.Fatalf("%s %s", got.Status, got.body)
		}
		return d.url("%s/blobs/%s", cid, layer), d.stop
	}
}

func coldNerdctl(b *testing.B, peer, cid string, layer digest.Digest) func(func()) (string, func()) {
	return func(started func()) (string, func()) {
		k, listen := kuboNode(b), "localhost:"+port(b)
		must(b, k.ipfs(b, "swarm", "connect", peer))
		p := start(b, "nerdctl", command(context.Background(), tool("nerdctl"), "ipfs", "registry", "serve", "--listen-registry", listen, "--ipfs-address", k.api))
		base := "http://" + listen + "/v2/ipfs/" + cid
		started()
		if err := p.ready(startLimit, headOK(base+"/manifests/latest")); err != nil {
			b.Fatal(err)
		}
		return base + "/blobs/" + layer.String(), func() { p.stop(); k.stop() }
	}
}

func coldPinAdd(b *testing.B, peer, path string) func(func()) (string, func()) {
	return func(started func()) (string, func()) {
		k := kuboNode(b)
		must(b, k.ipfs(b, "swarm", "connect", peer))
		started()
		_, api, _ := strings.Cut(k.api, "/tcp/")
		return "http://127.0.0.1:" + api + "/api/v0/pin/add?arg=" + path, k.stop
	}
}

func coldReport(routes []*route) string {
	var t strings.Builder
	t.WriteString("| | first byte, ms | whole layer, s | against | times as long |\n| --- | --- | --- | --- | --- |\n")
	by := map[string]*route{}
	for _, r := range routes {
		by[r.short] = r
		against, times := "–", "–"
		if r.against != "" {
			against, times = by[r.against].name, fmt.Sprintf("%.2f×", median(r.total)/median(by[r.against].total))
		}
		fmt.Fprintf(&t, "| %s | %.0f | %.2f%s | %s | %s |\n", r.name, median(r.first)*1000, median(r.total), r.late, against, times)
	}
	return t.String()
}

// toxiproxy puts a distance in front of a TCP address.
type toxiproxy struct{ api string }

func startToxiproxy(t testing.TB) *toxiproxy {
	t.Helper()
	endToEnd(t)
	listen := port(t)
	cmd := command(context.Background(), tool("toxiproxy-server"), "-host", "127.0.0.1", "-port", listen)
	cmd.Env = append(cmd.Env, "LOG_LEVEL=error") // else it tells of every connection
	p := start(t, "toxiproxy", cmd)
	far := &toxiproxy{"http://127.0.0.1:" + listen}
	if err := p.ready(startLimit, httpOK(far.api+"/version")); err != nil {
		t.Fatal(err)
	}
	return far
}

// port is a port on loopback that leads to the address, from afar.
func (p *toxiproxy) port(t testing.TB, upstream string) string {
	t.Helper()
	listen := port(t)
	p.call(t, "/proxies", map[string]any{"name": listen, "listen": "127.0.0.1:" + listen, "upstream": upstream, "enabled": true})
	for _, direction := range []string{"upstream", "downstream"} {
		p.call(t, filepath.Join("/proxies", listen, "toxics"), map[string]any{"name": direction, "type": "latency", "stream": direction,
			"attributes": map[string]any{"latency": delay.Milliseconds()}})
	}
	return listen
}

func (p *toxiproxy) call(t testing.TB, path string, body any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(p.api+path, "application/json", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode >= 300 {
		t.Fatalf("toxiproxy: %s %s %v", res.Status, text, err)
	}
}

func (p *toxiproxy) remove(t testing.TB, path string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodDelete, p.api+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		t.Fatalf("toxiproxy: %s", res.Status)
	}
}
