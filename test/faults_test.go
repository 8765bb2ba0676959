package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	blobSize = 24 << 20
	// slowRate is in KB a second: whatever the machine, a blob takes a while.
	slowRate = 4000
	midBlob  = 1 << 20
	// giveUp is the fetch timeout of the nodes that are to lose their sources. A
	// source that goes silent is replaced after 3 s.
	giveUp = 8 * time.Second
	margin = 15 * time.Second
)

// randomImage is an image of one layer that nobody has.
func randomImage(t testing.TB) (layout, ocispec.Descriptor) {
	t.Helper()
	return randomImageOf(t, blobSize+rand.Int64N(64<<10)) // no engine has had it before
}

// randomImageOf is an image of one layer, with a file of a size.
func randomImageOf(t testing.TB, size int64) (layout, ocispec.Descriptor) {
	t.Helper()
	l := annotatedImage(t, size, nil)
	return l, l.manifest(t).Layers[0]
}

// annotatedImage is an image of one layer, with a file of a size and annotations.
func annotatedImage(t testing.TB, size int64, annotations map[string]string) layout {
	t.Helper()
	l := layout{dir: filepath.Join(tempDir(t), "layout")}
	err := makeLayout(l.dir, func(w *layoutWriter) error {
		random, err := w.randomLayer(size)
		if err != nil {
			return err
		}
		random.desc.Annotations = annotations
		m, err := w.image(platform("amd64"), []string{"/none"}, random)
		return w.tag(m, err)
	})
	if err != nil {
		t.Fatal(err)
	}
	if l.desc, err = rootOf(l.dir); err != nil {
		t.Fatal(err)
	}
	return l
}

// unannounced keeps a node from telling the addresses behind a link, by which
// others would come back without it, and from meeting any by way of a DHT.
func unannounced() settings {
	return settings{"Addresses.Announce": []string{"/ip4/127.0.0.1/tcp/1"}, "Routing.Type": "none"}
}

// seed is a node of ours that has an image, and announces no address.
type seed struct {
	*daemon
	id, swarm string // swarm is host:port
}

func startSeed(t testing.TB, l layout) (*seed, string) {
	t.Helper()
	repo := tempDir(t)
	cid := push(t, repo, l.spec())
	s := &seed{id: configure(t, repo, unannounced()), swarm: "127.0.0.1:" + port(t)}
	s.daemon = serve(t, repo, "--swarm-listen", "/ip4/127.0.0.1/tcp/"+s.swarm[strings.Index(s.swarm, ":")+1:])
	return s, cid
}

// launchPuller starts a node that has nothing. The caller waits for it.
func launchPuller(t testing.TB, flags ...string) *daemon {
	t.Helper()
	return launchPullerIn(t, tempDir(t), flags...)
}

func launchPullerIn(t testing.TB, repo string, flags ...string) *daemon {
	t.Helper()
	must(t, cli(t.Context(), repo, "id")) // creates the repository
	configure(t, repo, unannounced())
	cmd, d, err := serveCommand(repo, append([]string{"--fetch-timeout", giveUp.String()}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	d.process = start(t, "puller", cmd)
	return d
}

// open waits until the puller is ready and has the manifest, as clients do, and
// returns the URL of the layer.
func (d *daemon) open(t testing.TB, cid string, layer digest.Digest) string {
	t.Helper()
	if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
		t.Fatal(err)
	}
	eventually(t, startLimit, "the manifest is served", func() error {
		if got := request(t, http.MethodGet, d.url("%s/manifests/latest", cid)); got.StatusCode != http.StatusOK {
			return fmt.Errorf("%s %s", got.Status, got.body)
		}
		return nil
	})
	return d.url("%s/blobs/%s", cid, layer)
}

func (d *daemon) from(t testing.TB, source string) float64 {
	t.Helper()
	return metric(t, d, `ipfs_registry_retrieval_bytes_total{source="`+source+`"}`)
}

// far are the sources of one image at the far ends of links.
type far struct {
	*toxiproxy
	cid   string
	layer ocispec.Descriptor
	peers [2]*seed
	kubo  *kubo
}

// What befalls the way to a source in the middle of a blob: with another source
// left nobody notices, and with none the request ends and says why.
func TestFaults(t *testing.T) {
	t.Parallel() // it mostly waits
	l, layer := randomImage(t)
	f := far{toxiproxy: startToxiproxy(t), layer: layer, kubo: kuboNode(t, unannounced())}
	for i := range f.peers {
		f.peers[i], f.cid = startSeed(t, l)
	}
	push(t, tempDir(t), "--ipfs-address", f.kubo.api, l.spec())
	t.Run("of the link", f.faults)
	t.Run("partition", f.partition)
	t.Run("thirty clients", f.thirtyClients)
	t.Run("not of the link", f.notOfTheLink)
}

// fault is something that happens to a link.
type fault struct {
	name    string
	gateway bool // by HTTP; else by libp2p
	happen  func(t testing.TB, l *link)
}

func faults() []fault {
	toxic := func(kind string, attributes map[string]any) func(testing.TB, *link) {
		return func(t testing.TB, l *link) { l.toxic(t, "fault", kind, 1, attributes) }
	}
	stall := toxic("timeout", map[string]any{"timeout": 0})
	reset := func(t testing.TB, l *link) { l.reset(t) }
	return []fault{
		{"latency", false, toxic("latency", map[string]any{"latency": time.Hour.Milliseconds()})},
		{"bandwidth", false, toxic("bandwidth", map[string]any{"rate": 1})},
		{"reset", false, reset},
		{"reset of HTTP", true, reset},
		{"stall", false, stall},
		{"stall of HTTP", true, stall},
		{"slow close", false, func(t testing.TB, l *link) {
			toxic("slow_close", map[string]any{"delay": time.Hour.Milliseconds()})(t, l)
			l.hangUp()
		}},
	}
}

// trial is a download that a fault befalls.
type trial struct {
	fault
	puller *daemon
	links  []*link
	source string // of the first link, as errors name it
	hit    *link  // the link that the fault befell
	got    *download
}

// All downloads run at once, for they mostly wait.
func (f *far) faults(t *testing.T) {
	trials := map[string]*trial{}
	for _, sources := range []int{1, 2} {
		for _, fault := range faults() {
			trials[fmt.Sprintf("%s, %d sources", fault.name, sources)] = f.prepare(t, fault, sources)
		}
	}
	for _, trial := range trials {
		trial.got = begin(t, trial.puller.open(t, f.cid, f.layer.Digest), 0)
		trial.hit = trial.got.busiest(t, trial.links)
		trial.happen(t, trial.hit)
		for _, l := range trial.links {
			if l != trial.hit {
				l.unlimited(t)
			}
		}
	}
	for name, trial := range trials {
		t.Run(name, func(t *testing.T) {
			if len(trial.links) > 1 {
				trial.got.brings(t, f.layer.Digest)
				return
			}
			trial.got.breaks(t, giveUp+margin)
			// It was too late for an answer with words in it; the log has them.
			for _, says := range []string{"aborted an answer", "nothing arrived for " + giveUp.String(), "while transferring", "bytes had arrived", trial.source} {
				trial.puller.logs(t, says)
			}
		})
	}
	for _, trial := range trials {
		trial.puller.stop()
	}
}

// logs waits until the log of the process has something in it.
func (p *process) logs(t testing.TB, says string) {
	t.Helper()
	eventually(t, startLimit, "the log says "+says, func() error {
		if !strings.Contains(p.log.String(), says) {
			return errors.New("it does not")
		}
		return nil
	})
}

func (f *far) prepare(t testing.TB, fault fault, sources int) *trial {
	t.Helper()
	trial := &trial{fault: fault}
	var flags []string
	for i := range sources {
		if fault.gateway {
			l := f.link(t, f.kubo.gateway, slowRate)
			trial.links, flags = append(trial.links, l), append(flags, "--gateway", l.url())
			continue
		}
		l := f.link(t, f.peers[i].swarm, slowRate)
		trial.links, flags = append(trial.links, l), append(flags, "--peer", l.multiaddr(f.peers[i].id))
	}
	trial.source = "peer " + f.peers[0].id
	if fault.gateway {
		trial.source, flags = "gateway 127.0.0.1:"+trial.links[0].port, append(flags, "--offline")
	}
	trial.puller = launchPuller(t, flags...)
	return trial
}

// The only source is cut off for longer than anybody waits, and comes back. The
// peer is connected again without being asked to, and the client, which asks for
// what it has not got, is sent nothing of the network that had come before.
func (f *far) partition(t *testing.T) {
	l := f.link(t, f.peers[0].swarm, slowRate)
	d := launchPuller(t, "--peer", l.multiaddr(f.peers[0].id))
	url := d.open(t, f.cid, f.layer.Digest)
	first := begin(t, url, 0)
	first.busiest(t, []*link{l})
	l.enable(t, false)
	first.breaks(t, giveUp+margin)
	l.unlimited(t)
	l.enable(t, true)
	eventually(t, 2*startLimit, "the peer is connected again", httpReady(d.admin))

	had := first.came.Load()
	rest := begin(t, url, had)
	rest.wait(t, startLimit)
	if rest.err != nil || rest.status != http.StatusPartialContent || had+rest.came.Load() != f.layer.Size {
		t.Fatalf("%d bytes had come; then status %d, %d bytes, %v; want %d in all", had, rest.status, rest.came.Load(), rest.err, f.layer.Size)
	}
	begin(t, url, 0).brings(t, f.layer.Digest)
	d.fetchedOnce(t, f.layer)
}

// fetchedOnce checks that the blob was fetched, and no block of it twice.
func (d *daemon) fetchedOnce(t *testing.T, blob ocispec.Descriptor) {
	t.Helper()
	bytes := metric(t, d, "ipfs_registry_retrieval_bytes_total")
	if most := float64(blob.Size + 1<<20); bytes < float64(blob.Size) || bytes >= most {
		t.Errorf("%.0f bytes of blocks came for a blob of %d; with a block twice it is %.0f", bytes, blob.Size, most)
	}
}

// Clients that ask for the same at once are sent it from one retrieval, from a
// gateway and from a peer.
func (f *far) thirtyClients(t *testing.T) {
	byGateway, byPeer := f.link(t, f.kubo.gateway, 4*slowRate), f.link(t, f.peers[0].swarm, 4*slowRate)
	for l, d := range map[*link]*daemon{
		byGateway: launchPuller(t, "--offline", "--gateway", byGateway.url()),
		byPeer:    launchPuller(t, "--peer", byPeer.multiaddr(f.peers[0].id)),
	} {
		url := d.open(t, f.cid, f.layer.Digest)
		var all []*download
		for range 30 {
			all = append(all, begin(t, url, 0))
		}
		for _, one := range all {
			one.brings(t, f.layer.Digest)
		}
		d.fetchedOnce(t, f.layer)
		// The inner nodes come with every part, in frames of HTTP or libp2p.
		if came := l.came.Load(); came > f.layer.Size+f.layer.Size/50 {
			t.Errorf("%d bytes came by the wire for a blob of %d", came, f.layer.Size)
		}
	}
}

// What is no fault of the network is not taken for one: the daemon is stopped, or
// its disk, for longer than a reader waits for what does not come. A peer hangs up on
// a daemon that is stopped, and is dialed again some time; a gateway does not.
func (f *far) notOfTheLink(t *testing.T) {
	var trials []*interrupted
	for _, trial := range []interrupted{{byGateway: true}, {byGateway: true, ofDisk: true}, {ofDisk: true}} {
		trial.disk = smallDisk(t, 256)
		trial.daemon = f.pullerOn(t, trial.disk, trial.byGateway)
		trial.url = trial.open(t, f.cid, f.layer.Digest)
		trials = append(trials, &trial)
	}
	for _, trial := range trials {
		trial.got = begin(t, trial.url, 0)
	}
	for _, trial := range trials {
		trial.got.underWay(t)
		trial.interrupt(t)
	}
	<-time.After(giveUp + 2*time.Second)
	for _, trial := range trials {
		trial.resume()
	}
	for _, trial := range trials {
		trial.got.brings(t, f.layer.Digest)
	}
}

type interrupted struct {
	*daemon
	byGateway, ofDisk bool
	url, disk         string
	got               *download
	resume            func()
}

func (f *far) pullerOn(t testing.TB, disk string, byGateway bool) *daemon {
	t.Helper()
	repo := filepath.Join(disk, "repo")
	if byGateway {
		return launchPullerIn(t, repo, "--offline", "--gateway", f.link(t, f.kubo.gateway, slowRate).url())
	}
	return launchPullerIn(t, repo, "--peer", f.link(t, f.peers[0].swarm, slowRate).multiaddr(f.peers[0].id))
}

// interrupt stops the daemon, or all writing to its disk, until resume is called.
func (i *interrupted) interrupt(t testing.TB) {
	t.Helper()
	if i.ofDisk {
		must(t, command(t.Context(), "fsfreeze", "--freeze", i.disk))
		i.resume = sync.OnceFunc(func() { must(t, command(context.WithoutCancel(t.Context()), "fsfreeze", "--unfreeze", i.disk)) })
	} else {
		if err := i.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		i.resume = sync.OnceFunc(func() { _ = i.cmd.Process.Signal(syscall.SIGCONT) })
	}
	t.Cleanup(i.resume)
}
