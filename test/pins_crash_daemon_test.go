package test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// struck is a host whose daemon is killed at random instants, and what is known
// of its images.
type struck struct {
	repo   string
	images map[string]struckImage // by their CIDs
	flags  []string               // of the daemon

	// kept has the images of which it is known whether they are kept: not those
	// with which the daemon goes on by itself.
	kept map[string]bool

	mu                   sync.Mutex
	acknowledged, broken map[string]int // commands by their verbs
}

// struckImage is an image and how it is pushed.
type struckImage struct {
	push   []string
	layers []ocispec.Descriptor
}

// newStruck has images of two layers on another host, behind a link of a rate in
// KB a second.
func newStruck(t *testing.T, rate int, layer int64, formats ...string) *struck {
	t.Helper()
	s := &struck{repo: tempDir(t), images: map[string]struckImage{}, kept: map[string]bool{},
		acknowledged: map[string]int{}, broken: map[string]int{}}
	var origin *seed
	for n, format := range formats {
		l := twoLayers(t, layer, layer+int64(n+1)*512)
		if origin == nil {
			origin, _ = startSeed(t, l)
		}
		args := []string{"--format", format, l.spec()}
		s.images[push(t, origin.repo, args...)] = struckImage{args, l.manifest(t).Layers}
	}
	must(t, cli(t.Context(), s.repo, "id")) // creates the repository
	configure(t, s.repo, unannounced())
	s.flags = []string{"--peer", startToxiproxy(t).link(t, origin.swarm, rate).multiaddr(origin.id)}
	return s
}

// twoLayers is an image of two layers with so many bytes.
func twoLayers(t *testing.T, one, other int64) layout {
	t.Helper()
	l := layout{dir: filepath.Join(t.TempDir(), "layout")}
	err := makeLayout(l.dir, func(w *layoutWriter) error {
		first, err := w.randomLayer(one)
		if err != nil {
			return err
		}
		second, err := w.randomLayer(other)
		if err != nil {
			return err
		}
		m, err := w.image(platform("amd64"), []string{"/none"}, first, second)
		return w.tag(m, err)
	})
	if err == nil {
		l.desc, err = rootOf(l.dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// launch starts the daemon without waiting for it.
func (s *struck) launch(t *testing.T) *daemon {
	t.Helper()
	cmd, d, err := serveCommand(s.repo, s.flags...)
	if err != nil {
		t.Fatal(err)
	}
	if d.process, err = launch("ipfs-registry", cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	return d
}

// A daemon that is killed over and over, at random instants, while commands run
// through it, opens each time with the images that were acknowledged, each of
// them whole.
func TestKilledDaemonKeeping(t *testing.T) {
	const kills, most = 40, 600 * time.Millisecond
	s := newStruck(t, 1_000_000, 2<<20, "layout", "nerdctl", "layout", "nerdctl")
	for cid := range s.images {
		s.kept[cid] = false
	}
	for round := 0; round < kills || s.lacks("add", "rm", "push", "gc"); round++ {
		d, busy := s.launch(t), sync.WaitGroup{}
		if round%8 > 0 { // or it is killed while it starts
			if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
				t.Fatal(err)
			}
			busy.Go(func() { s.commands(t.Context(), d) })
			busy.Go(func() { s.collections(t.Context(), d) })
		}
		s.strike(t, d, rand.N(most), &busy)
		if round%10 == 9 {
			s.verify(t)
		}
		if t.Failed() || round == 5*kills {
			t.Fatalf("in round %d; acknowledged: %v; broken off: %v", round, s.acknowledged, s.broken)
		}
	}
	s.verify(t)
	t.Logf("acknowledged: %v; broken off: %v", s.acknowledged, s.broken)
}

// A daemon that keeps what is pulled, killed during pulls and while it keeps
// them, has every image whole that it ever listed as kept.
func TestKilledDaemonPulling(t *testing.T) {
	t.Parallel() // it mostly waits

	// A pull is left alone for two seconds before its image is kept.
	const kills, most = 12, 3200 * time.Millisecond
	s := newStruck(t, 16_000, 8<<20, "layout", "nerdctl", "layout")
	s.flags = append(s.flags, "--pin-on-pull", "all")
	for round := 0; round < kills || s.lacks("pull"); round++ {
		d, busy := s.launch(t), sync.WaitGroup{}
		if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
			t.Fatal(err)
		}
		cid := s.any()
		busy.Go(func() { s.pull(t.Context(), d, cid) })
		lasts := rand.N(most)
		if round%2 == 0 {
			lasts = rand.N(most / 4) // while the client still pulls, if it is not here already
		}
		if round == 1 {
			lasts = 0
			s.waitKept(t, cid)
		}
		s.strike(t, d, lasts, &busy)
		s.verify(t)
		if s.kept[cid] && rand.N(2) == 0 {
			must(t, cli(t.Context(), s.repo, "pin", "rm", cid))
			delete(s.kept, cid)
			collect(t, s.repo)
		}
		if t.Failed() || round == 5*kills {
			t.Fatalf("in round %d; pulls: %v; broken off: %v", round, s.acknowledged, s.broken)
		}
	}
	t.Logf("pulls to the end: %d; broken off: %d", s.acknowledged["pull"], s.broken["pull"])
}

// waitKept waits until an image that is pulled is kept.
func (s *struck) waitKept(t *testing.T, cid string) {
	t.Helper()
	eventually(t, time.Minute, "it is kept", func() error {
		if p := pinOf(t, s.repo, cid); p.State != "kept" {
			return fmt.Errorf("listed as %+v", p)
		}
		return nil
	})
	s.kept[cid] = true
}

// lacks reports whether some command was never acknowledged, or never broken off.
func (s *struck) lacks(verbs ...string) bool {
	return slices.ContainsFunc(verbs, func(verb string) bool { return s.acknowledged[verb] == 0 || s.broken[verb] == 0 })
}

// strike kills the daemon after a while, and looks at what is left.
func (s *struck) strike(t *testing.T, d *daemon, after time.Duration, busy *sync.WaitGroup) {
	t.Helper()
	select {
	case <-time.After(after):
	case <-d.done:
		t.Fatalf("the daemon ended by itself: %v\n%s", d.err, d.log.tail(8<<10))
	}
	if err := d.signal(syscall.SIGKILL, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	busy.Wait()
	s.check(t)
}

// check compares what is listed with what was acknowledged, and learns what
// became of the others.
func (s *struck) check(t *testing.T) {
	t.Helper()
	listed := map[string]string{}
	for _, p := range pins(t, s.repo) {
		listed[p.Root] = p.State
	}
	for cid := range s.images {
		kept, known := s.kept[cid]
		if known && kept != (listed[cid] == "kept") {
			t.Errorf("%s is listed as %q; want it kept: %t", cid, listed[cid], kept)
		}
		switch pulled := s.acknowledged["pull"]+s.broken["pull"] > 0; {
		case listed[cid] == "kept":
			s.kept[cid] = true
		case listed[cid] == "" && !pulled:
			s.kept[cid] = false
		}
	}
}

// verify reads every image that is kept, each blob against its digest, after
// all else has been collected.
func (s *struck) verify(t *testing.T) {
	t.Helper()
	collect(t, s.repo)
	for cid, kept := range s.kept {
		if !kept {
			continue
		}
		if _, err := output(cli(t.Context(), s.repo, "pull", "--offline", cid, "oci:"+filepath.Join(t.TempDir(), cid))); err != nil {
			t.Errorf("an image that is kept cannot be read: %v", err)
		}
	}
}

// commands runs one command after the other until the daemon is gone. One that
// begins just then is offline.
func (s *struck) commands(ctx context.Context, d *daemon) {
	for !d.gone() {
		cid := s.any()
		args := map[string][]string{"rm": {"pin", "rm", cid}, "add": {"pin", "add", "--offline", cid}, "push": append([]string{"push"}, s.images[cid].push...)}
		verb := []string{"add", "push"}[rand.N(2)]
		kept, known := s.kept[cid]
		if kept || !known && rand.N(2) == 0 {
			verb = "rm"
		}
		if s.run(ctx, verb, args[verb]...) {
			s.kept[cid] = verb != "rm"
		} else {
			delete(s.kept, cid) // either is right
		}
	}
}

// collections collects garbage, and verifies, until the daemon is gone.
func (s *struck) collections(ctx context.Context, d *daemon) {
	for n := 0; !d.gone(); n++ {
		if n%4 == 3 {
			s.run(ctx, "verify", "pin", "verify", "--offline", "--all")
		} else {
			s.run(ctx, "gc", "gc")
		}
	}
}

func (s *struck) run(ctx context.Context, verb string, args ...string) (acknowledged bool) {
	_, err := output(cli(ctx, s.repo, args...))
	s.count(verb, err)
	return err == nil
}

func (s *struck) count(verb string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.acknowledged[verb]++
	} else {
		s.broken[verb]++
	}
}

// pull reads what a client does.
func (s *struck) pull(ctx context.Context, d *daemon, cid string) {
	err := read(ctx, d.url("%s/manifests/latest", cid))
	for _, l := range s.images[cid].layers {
		if err == nil {
			err = read(ctx, d.url("%s/blobs/%s", cid, l.Digest))
		}
	}
	s.count("pull", err)
}

func read(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

func (s *struck) any() string {
	cids := slices.Sorted(maps.Keys(s.images))
	return cids[rand.N(len(cids))]
}

// gone reports whether the process has ended.
func (p *process) gone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
