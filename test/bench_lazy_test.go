package test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// onlyStarts are the short names of the lazy starts to measure; what those are
// compared with has to be among them to be in the table.
var onlyStarts = flag.String("starts", "", "measure only the lazy starts whose short name matches the regular expression")

// lazyRounds is how often each start is measured; the medians count.
const lazyRounds = 5

// BenchmarkLazy measures from "nerdctl run" to the output of a Python program:
// with the layers mounted and read as they are needed, and with all of them
// pulled before; from the local disk and from a host 50 ms away.
func BenchmarkLazy(b *testing.B) {
	starts, only := lazyStarts(b), regexp.MustCompile("^("+*onlyStarts+")")
	starts = slices.DeleteFunc(starts, func(s *lazyStart) bool { return !only.MatchString(s.short) })
	for b.Loop() {
		for range lazyRounds {
			for _, s := range starts {
				s.measure(b)
			}
		}
	}
	text := lazyReport(starts)
	fmt.Println(text)
	if *update {
		writeReport(b, "lazy", text)
	}
	for _, s := range starts {
		b.ReportMetric(median(s.seconds), "s-"+strings.ReplaceAll(s.short, " ", "-"))
	}
}

// lazyStart is one way to start the container.
type lazyStart struct {
	name, short string
	against     []string // the short names of what it is compared with
	snapshotter string
	far         []string // the directories of who serves it
	// open returns the name of the image, what stops it, and how many bytes
	// have come from afar.
	open    func() (image string, stop func(), far func() float64)
	seconds []float64
	bytes   []float64 // MB
	late    late
}

// measure starts a container in a containerd that knows nothing.
func (s *lazyStart) measure(b *testing.B) {
	b.Helper()
	calm(b, s.far...)
	image, stop, far := s.open()
	defer stop()
	dir := tempDir(b)
	c, err := launchContainerd(dir)
	if c != nil {
		defer c.stop()
	}
	if err != nil {
		b.Fatal(err)
	}
	before, began := far(), time.Now()
	inTime, out, err := s.run(b, c, image, stop)
	s.seconds = append(s.seconds, min(time.Since(began), routeLimit).Seconds())
	s.bytes = append(s.bytes, (far()-before)/1e6)
	if !inTime {
		s.late.note(b, s.name)
		return
	}
	if err != nil || !strings.Contains(out, greeting) {
		b.Fatalf("%s: printed %q (%v)", s.name, out, err)
	}
	if lazy := c.lazyMounts("bench"); (lazy == 3) != (s.snapshotter == "stargz") {
		b.Fatalf("%s: %d layers were mounted lazily", s.name, lazy)
	}
}

// run runs the container. When it is late who serves the image is stopped: what
// waits for that fails then and ends by itself, and nothing of it is left behind.
func (s *lazyStart) run(b *testing.B, c *containerd, image string, stop func()) (inTime bool, out string, err error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 2*routeLimit)
	defer cancel()
	onTime := time.AfterFunc(routeLimit, stop)
	out, err = output(c.nerdctlWithin(ctx, "bench", "--snapshotter="+s.snapshotter, "run", "--rm", "--quiet", "--net=host", image))
	return onTime.Stop(), out, err
}

func lazyStarts(b *testing.B) []*lazyStart {
	far := startToxiproxy(b)
	seed, k, plain := serve(b, tempDir(b)), kuboNode(b), sourceRegistry(b)
	cid := push(b, seed.repo, "--estargz", testImages(b).real.spec())
	packed := filepath.Join(tempDir(b), "packed")
	must(b, cli(b.Context(), seed.repo, "pull", cid, "oci:"+packed+":"+imageTag))
	kuboCID := push(b, tempDir(b), "--ipfs-address", k.api, "--format", "nerdctl", "--chunker", "kubo-legacy", "oci:"+packed+":"+imageTag)
	plainName := plain.copyIn(b, layout{dir: packed}, "lazy/real:v1")

	address := seed.address(b)
	_, rest, _ := strings.Cut(address, "/tcp/")
	seedPort, peer, _ := strings.Cut(rest, "/")
	nothing := func() float64 { return 0 }
	sorted := push(b, seed.repo, "--estargz", "--estargz-prioritize", firstFiles(b, seed.name(cid)), testImages(b).real.spec())
	small := push(b, seed.repo, "--estargz", "--chunker", "kubo-legacy", testImages(b).real.spec())
	ours := func(cid string) func() (string, func(), func() float64) {
		return func() (string, func(), func() float64) {
			m := newMeter(b, "127.0.0.1:"+far.port(b, "127.0.0.1:"+seedPort))
			d := serve(b, tempDir(b), "--peer", "/ip4/127.0.0.1/tcp/"+m.port+"/"+peer)
			return d.name(cid), d.stop, m.received
		}
	}
	distribution := func() (string, func(), func() float64) {
		m := newMeter(b, "127.0.0.1:"+far.port(b, plain.host))
		return "localhost:" + m.port + strings.TrimPrefix(plainName, plain.host), func() {}, m.received
	}
	_, kuboPort, _ := strings.Cut(k.swarm, "/tcp/")
	nerdctl := func(address string) (string, func()) {
		listen := "localhost:" + port(b)
		p := start(b, "nerdctl", command(context.Background(), tool("nerdctl"), "ipfs", "registry", "serve", "--listen-registry", listen, "--ipfs-address", address))
		if err := p.ready(startLimit, headOK("http://"+listen+"/v2/ipfs/"+kuboCID+"/manifests/latest")); err != nil {
			b.Fatal(err)
		}
		return listen + "/ipfs/" + kuboCID, p.stop
	}
	nerdctlFar := func() (string, func(), func() float64) {
		m := newMeter(b, "127.0.0.1:"+far.port(b, "127.0.0.1:"+kuboPort))
		near := kuboNode(b)
		must(b, near.ipfs(b, "swarm", "connect", "/ip4/127.0.0.1/tcp/"+m.port+"/p2p/"+k.id))
		name, stop := nerdctl(near.api)
		return name, func() { stop(); near.stop() }, m.received
	}
	starts := []*lazyStart{
		{name: "distribution", short: "distribution", snapshotter: "stargz", open: func() (string, func(), func() float64) { return plainName, func() {}, nothing }},
		{name: "ours", short: "ours", against: []string{"distribution"}, snapshotter: "stargz", open: func() (string, func(), func() float64) { return seed.name(cid), func() {}, nothing }},
		{name: "nerdctl ipfs registry + Kubo", short: "nerdctl", against: []string{"distribution"}, snapshotter: "stargz", open: func() (string, func(), func() float64) {
			name, stop := nerdctl(k.api)
			return name, stop, nothing
		}},
		{name: "ours, pulled whole", short: "ours whole", snapshotter: "overlayfs", open: func() (string, func(), func() float64) { return seed.name(cid), func() {}, nothing }},
		{name: "distribution, 50 ms away", short: "distribution far", snapshotter: "stargz", open: distribution},
		{name: "ours from ours, 50 ms away", short: "ours far", against: []string{"distribution far", "ours far whole"}, snapshotter: "stargz", open: ours(cid)},
		{name: "ours from ours, 50 ms away, the program's files first", short: "ours far sorted", against: []string{"distribution far", "ours far whole"}, snapshotter: "stargz", open: ours(sorted)},
		{name: "ours from ours, 50 ms away, chunks of 256 KiB", short: "ours far small", against: []string{"distribution far", "ours far"}, snapshotter: "stargz", open: ours(small)},
		{name: "nerdctl ipfs registry + Kubo from Kubo, 50 ms away", short: "nerdctl far", against: []string{"distribution far"}, snapshotter: "stargz", open: nerdctlFar},
		{name: "distribution, 50 ms away, pulled whole", short: "distribution far whole", snapshotter: "overlayfs", open: distribution},
		{name: "nerdctl ipfs registry + Kubo from Kubo, 50 ms away, pulled whole", short: "nerdctl far whole", against: []string{"distribution far whole"}, snapshotter: "overlayfs", open: nerdctlFar},
		{name: "ours from ours, 50 ms away, pulled whole", short: "ours far whole", against: []string{"distribution far whole", "nerdctl far whole"}, snapshotter: "overlayfs", open: ours(cid)},
	}
	for _, s := range starts {
		s.far = []string{seed.repo, k.repo, plain.dir}
	}
	return starts
}

// meter counts what comes from an address, on the way from a port of its own.
type meter struct {
	port string
	n    atomic.Int64
}

func newMeter(b *testing.B, to string) *meter {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	m := &meter{port: strconv.Itoa(l.Addr().(*net.TCPAddr).Port)}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			go func() { defer far.Close(); _, _ = io.Copy(far, near) }() // it ends with either side
			go func() { defer near.Close(); _, _ = io.Copy(io.MultiWriter(near, m), far) }()
		}
	}()
	return m
}

func (m *meter) Write(p []byte) (int, error) { m.n.Add(int64(len(p))); return len(p), nil }

func (m *meter) received() float64 { return float64(m.n.Load()) }

// firstFiles lists the files that the program under test reads, as it says itself.
func firstFiles(b *testing.B, image string) string {
	b.Helper()
	const program = `
import os, sys
files = {line.split()[-1] for line in open('/proc/self/maps')}
for module in sys.modules.values():
    files |= {getattr(module, '__cached__', None), getattr(module, '__file__', None)}
files |= {'/usr/bin/python3', '/usr/local/bin/greet', '/etc/ld.so.cache', '/etc/passwd', '/etc/group', os.path.realpath('/etc/localtime')}
print('\n'.join(sorted(f for f in files if f and f.startswith('/'))))
`
	c := containerdEngine(b)
	list := must(b, c.nerdctl(b, namespaceOf(b), "--snapshotter=stargz", "run", "--rm", "--quiet", "--net=host", "--entrypoint=/usr/bin/python3", image, "-c", program))
	file := filepath.Join(tempDir(b), "first")
	if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
		b.Fatal(err)
	}
	return file
}

func lazyReport(starts []*lazyStart) string {
	var t strings.Builder
	t.WriteString("| | from start to output, s | from afar, MB | times as long |\n| --- | --- | --- | --- |\n")
	by := map[string]*lazyStart{}
	for _, s := range starts {
		by[s.short] = s
	}
	for _, s := range starts {
		bytes, times := "–", []string{}
		if median(s.bytes) > 0 {
			bytes = fmt.Sprintf("%.1f", median(s.bytes))
		}
		for _, other := range s.against {
			if by[other] != nil {
				times = append(times, fmt.Sprintf("%.2f× %s", median(s.seconds)/median(by[other].seconds), by[other].name))
			}
		}
		fmt.Fprintf(&t, "| %s | %.2f%s | %s | %s |\n", s.name, median(s.seconds), s.late, bytes, strings.Join(times, ", "))
	}
	return t.String()
}
