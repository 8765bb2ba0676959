package test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

var update = flag.Bool("update", false, "write the table of the benchmark into docs/benchmarks.md")

const (
	rounds      = 5               // the contenders take turns, and the medians count
	measureTime = 3 * time.Second // of each measurement under load
	pullers     = 8               // clients at once
	patience    = 15 * time.Second
)

// BenchmarkPeers serves the same layer with us and with the other ways to serve
// it, and measures all of them in one run with the same load generator. Times
// drift from run to run and from machine to machine: the ratios count.
func BenchmarkPeers(b *testing.B) {
	images := testImages(b)
	layer := images.real.manifest(b).Layers[0]
	peers := contenders(b, images.real, layer.Digest)
	for b.Loop() {
		for _, c := range peers {
			c.measureStart(b)
			c.measureMemory(b, layer.Size)
		}
		for range rounds {
			for _, c := range peers {
				c.throughput = append(c.throughput, wrk(b, c.url, 1, ""))
				c.ranges = append(c.ranges, wrk(b, c.url, pullers, rangeScript(layer.Size)))
			}
		}
		for _, c := range peers {
			c.measureManners(b)
		}
	}
	for _, c := range peers[1:] {
		b.ReportMetric(median(peers[0].throughput)/median(c.throughput), "blob-ratio-"+c.short)
		b.ReportMetric(median(peers[0].ranges)/median(c.ranges), "range-ratio-"+c.short)
	}
	text := report(peers, layer.Size)
	fmt.Println(text)
	if *update {
		writeReport(b, "warm", text)
	}
}

// contender is one way to serve the layer.
type contender struct {
	name, short string
	url         string // of the layer
	image       string // the base URL of an image's repository, if it has such
	unpinned    string // the URL of a CID that nobody has, if it knows CIDs
	garbage     string // the URL of what is no CID
	launch      func() ([]*process, error)
	running     []*process

	started          []float64 // ms
	throughput       []float64 // MB/s
	ranges           []float64 // requests/s
	idle, peak       float64   // MiB
	absent, nonsense string
	digestHeader     string
}

func contenders(b *testing.B, l layout, layer digest.Digest) []*contender {
	b.Helper()
	all := []*contender{ours(b, l, layer), nerdctlAndKubo(b, l, layer), distribution(b, l, layer), gateway(b, l, layer), nginx(b, l, layer)}
	b.Cleanup(func() {
		for _, c := range all {
			c.stop()
		}
	})
	return all
}

const nobodyHas = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"

func ours(b *testing.B, l layout, layer digest.Digest) *contender {
	repo := tempDir(b)
	cid := push(b, repo, l.spec())
	cmd, d, err := serveCommand(repo, "--fetch-timeout", "5s")
	if err != nil {
		b.Fatal(err)
	}
	return &contender{name: "ipfs-registry", short: "self", url: d.url("%s/blobs/%s", cid, layer), image: d.url("%s", cid),
		unpinned: d.url("%s/manifests/latest", nobodyHas), garbage: d.url("garbage/manifests/latest"),
		launch: func() ([]*process, error) { return launchOne(cli(context.Background(), repo, cmd.Args[3:]...)) }}
}

// launchOne starts a program that is a contender by itself.
func launchOne(cmd *exec.Cmd) ([]*process, error) {
	p, err := launch(filepath.Base(cmd.Path), cmd)
	return []*process{p}, err
}

func nerdctlAndKubo(b *testing.B, l layout, layer digest.Digest) *contender {
	k, listen := kuboNode(b), "localhost:"+port(b)
	cid := push(b, tempDir(b), "--ipfs-address", k.api, "--format", "nerdctl", "--chunker", "kubo-legacy", l.spec())
	k.stop()
	base := "http://" + listen + "/v2/ipfs/"
	return &contender{name: "nerdctl ipfs registry + Kubo", short: "nerdctl", url: base + cid + "/blobs/" + layer.String(), image: base + cid,
		unpinned: base + nobodyHas + "/manifests/latest", garbage: base + "garbage/manifests/latest",
		launch: func() ([]*process, error) {
			all, err := launchOne(k.daemonCommand())
			if err != nil {
				return nil, err
			}
			if err := all[0].ready(startLimit, httpOK("http://"+k.gateway+"/ipfs/bafkqaaa")); err != nil {
				return all, err
			}
			p, err := launchOne(command(context.Background(), tool("nerdctl"), "ipfs", "registry", "serve", "--listen-registry", listen, "--ipfs-address", k.api))
			return append(all, p...), err
		}}
}

func gateway(b *testing.B, l layout, layer digest.Digest) *contender {
	k := kuboNode(b)
	cid := lastLine(must(b, k.ipfs(b, "add", "-r", "-Q", "--cid-version=1", "--chunker=size-1048576", "--max-file-links=1024", l.dir)))
	k.stop()
	return &contender{name: "Kubo's gateway", short: "gateway", url: "http://" + k.gateway + "/ipfs/" + cid + "/blobs/sha256/" + layer.Encoded(),
		unpinned: "http://" + k.gateway + "/ipfs/" + nobodyHas, garbage: "http://" + k.gateway + "/ipfs/garbage",
		launch: func() ([]*process, error) { return launchOne(k.daemonCommand()) }}
}

func distribution(b *testing.B, l layout, layer digest.Digest) *contender {
	dir := tempDir(b)
	p, s, err := launchDistribution(dir)
	if err != nil {
		b.Fatal(err)
	}
	if err := p.ready(startLimit, httpOK("http://"+s.host+"/v2/")); err != nil {
		b.Fatal(err)
	}
	s.copyIn(b, l, "bench/real:v1")
	p.stop()
	base := "http://" + s.host + "/v2/bench/real"
	return &contender{name: "distribution 3.1", short: "distribution", url: base + "/blobs/" + layer.String(), image: base,
		launch: func() ([]*process, error) {
			cmd := command(context.Background(), p.cmd.Path, p.cmd.Args[1:]...)
			cmd.Env = p.cmd.Env
			return launchOne(cmd)
		}}
}

const nginxConfig = `daemon off;
worker_processes 2;
pid %[1]s/pid;
error_log stderr;
events {}
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  keepalive_requests 1000000000;
  server { listen 127.0.0.1:%[2]s; root %[3]s; }
}
`

func nginx(b *testing.B, l layout, layer digest.Digest) *contender {
	dir, listen := tempDir(b), port(b)
	// Its workers are no root, so the blob has to be where others can read it.
	must(b, command(b.Context(), "cp", l.blob(layer), filepath.Join(dir, "blob")))
	for _, path := range []string{dir, filepath.Join(dir, "blob")} {
		if err := os.Chmod(path, 0o755); err != nil {
			b.Fatal(err)
		}
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, listen, dir), 0o644); err != nil {
		b.Fatal(err)
	}
	return &contender{name: "nginx, sendfile", short: "nginx", url: "http://127.0.0.1:" + listen + "/blob",
		launch: func() ([]*process, error) {
			return launchOne(command(context.Background(), "/usr/sbin/nginx", "-c", config))
		}}
}

func (c *contender) stop() {
	for _, p := range slices.Backward(c.running) {
		p.stop()
	}
	c.running = nil
}

// measureStart starts it several times: from the start of the program to the
// end of the first answer about the layer. It leaves it running.
func (c *contender) measureStart(b *testing.B) {
	b.Helper()
	for range rounds {
		c.stop()
		began := time.Now()
		var err error
		if c.running, err = c.launch(); err != nil {
			b.Fatalf("%s: %v", c.name, err)
		}
		if err := c.running[len(c.running)-1].ready(startLimit, headOK(c.url)); err != nil {
			b.Fatal(err)
		}
		c.started = append(c.started, float64(time.Since(began).Microseconds())/1000)
	}
}

func headOK(url string) func() error {
	return func() error {
		res, err := http.Head(url)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, res.Status)
		}
		return nil
	}
}

// measureMemory takes what is resident after a while without requests, and the
// most that is while the clients pull.
func (c *contender) measureMemory(b *testing.B, size int64) {
	b.Helper()
	<-time.After(3 * time.Second) // what starting used is given back by then
	c.idle = c.memory(b, "VmRSS")
	for _, pid := range c.pids(b) {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200); err != nil {
			b.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for range pullers {
		all.Go(func() {
			res, err := http.Get(c.url)
			if err != nil {
				b.Error(err)
				return
			}
			defer res.Body.Close()
			if n, err := io.Copy(io.Discard, res.Body); err != nil || n != size {
				b.Errorf("%s: %s, %d bytes, %v", c.url, res.Status, n, err)
			}
		})
	}
	all.Wait()
	c.peak = c.memory(b, "VmHWM")
}

// pids are the processes of the contender: each was started as the leader of a
// process group.
func (c *contender) pids(b *testing.B) (pids []int) {
	b.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		group, err := syscall.Getpgid(pid)
		for _, p := range c.running {
			if err == nil && group == p.cmd.Process.Pid {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// memory is the sum over the processes, in MiB.
func (c *contender) memory(b *testing.B, field string) (sum float64) {
	b.Helper()
	for _, pid := range c.pids(b) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == field+":" {
				kib, err := strconv.ParseFloat(fields[1], 64)
				if err != nil {
					b.Fatal(err)
				}
				sum += kib / 1024
			}
		}
	}
	return sum
}

// measureManners asks for what can't be had.
func (c *contender) measureManners(b *testing.B) {
	b.Helper()
	c.absent, c.nonsense, c.digestHeader = "–", "–", "–"
	if c.unpinned != "" {
		c.absent = ask(b, c.unpinned)
	}
	if c.garbage != "" {
		c.nonsense = ask(b, c.garbage)
	}
	if c.image == "" {
		return
	}
	res, err := http.Head(c.url)
	if err != nil {
		b.Fatal(err)
	}
	res.Body.Close()
	if c.digestHeader = "sent"; res.Header.Get("Docker-Content-Digest") == "" {
		c.digestHeader = "missing"
	}
}

func ask(b *testing.B, url string) string {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Sprintf("no answer in %s", patience)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Sprintf("%d and no end in %s", res.StatusCode, patience)
	}
	says := "says why"
	if len(body) == 0 {
		says = "empty body"
	}
	return fmt.Sprintf("%d after %.1f s, %s", res.StatusCode, time.Since(began).Seconds(), says)
}

// wrk puts the URL under load and returns MB/s, or requests/s of a script.
func wrk(b *testing.B, url string, connections int, script string) float64 {
	b.Helper()
	file := filepath.Join(b.TempDir(), "wrk.lua")
	if err := os.WriteFile(file, []byte(script+wrkResult), 0o600); err != nil {
		b.Fatal(err)
	}
	out := must(b, command(b.Context(), "wrk", "-t1", "-c", strconv.Itoa(connections), "-d", measureTime.String(), "--timeout", "60s", "-s", file, url))
	_, result, _ := strings.Cut(out, "RESULT ")
	var requests, bytes, micros, failed float64
	if n, err := fmt.Sscan(result, &requests, &bytes, &micros, &failed); n != 4 || failed > 0 || bytes == 0 {
		b.Fatalf("wrk %s: %v, %v failed\n%s", url, err, failed, out)
	}
	if script != "" {
		return requests / micros * 1e6
	}
	return bytes / micros
}

const wrkResult = `
function done(summary)
  io.write(string.format("RESULT %d %d %d %d\n", summary.requests, summary.bytes, summary.duration, summary.errors.status))
end
`

// rangeScript asks for 16 KiB anywhere; each run asks for the same ones.
func rangeScript(size int64) string {
	return fmt.Sprintf(`
math.randomseed(1)
function request()
  local at = math.random(0, %d)
  return wrk.format("GET", nil, { ["Range"] = "bytes=" .. at .. "-" .. (at + 16383) })
end
`, size-16384)
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// report is the table in Markdown: what was measured, and what we are of it.
func report(peers []*contender, size int64) string {
	var t strings.Builder
	row := func(name string, cell func(*contender) string) {
		fmt.Fprintf(&t, "| %s |", name)
		for _, c := range peers {
			fmt.Fprintf(&t, " %s |", cell(c))
		}
		t.WriteString("\n")
	}
	number := func(of func(*contender) float64) func(*contender) string {
		return func(c *contender) string { return fmt.Sprintf("%.0f", of(c)) }
	}
	ratio := func(of func(*contender) float64) func(*contender) string {
		return func(c *contender) string { return fmt.Sprintf("%.2f×", of(peers[0])/of(c)) }
	}
	throughput := func(c *contender) float64 { return median(c.throughput) }
	ranges := func(c *contender) float64 { return median(c.ranges) }
	row(fmt.Sprintf("a layer of %.0f MB", float64(size)/1e6), func(c *contender) string { return c.name })
	row("---", func(*contender) string { return "---" })
	row("warm blob, MB/s", number(throughput))
	row("ours is", ratio(throughput))
	row("random 16 KiB ranges, 8 connections, requests/s", number(ranges))
	row("ours is", ratio(ranges))
	row("resident memory idle, MiB", number(func(c *contender) float64 { return c.idle }))
	row("most resident memory, 8 clients pull, MiB", number(func(c *contender) float64 { return c.peak }))
	row("from start to the first answer, ms", number(func(c *contender) float64 { return median(c.started) }))
	row("a CID that nobody has", func(c *contender) string { return c.absent })
	row("what is no CID", func(c *contender) string { return c.nonsense })
	row("Docker-Content-Digest", func(c *contender) string { return c.digestHeader })
	return t.String()
}

// writeReport puts a table between its markers in the page.
func writeReport(b *testing.B, table, text string) {
	b.Helper()
	const page = "../docs/benchmarks.md"
	begin, end := "<!-- "+table+": begin -->\n", "<!-- "+table+": end -->"
	data, err := os.ReadFile(page)
	if err != nil {
		b.Fatal(err)
	}
	before, rest, found := strings.Cut(string(data), begin)
	_, after, ends := strings.Cut(rest, end)
	if !found || !ends {
		b.Fatalf("%s has no %q and %q", page, begin, end)
	}
	if err := os.WriteFile(page, []byte(before+begin+text+end+after), 0o644); err != nil {
		b.Fatal(err)
	}
}
