package test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// killed is a host whose commands are killed at random instants, and what was
// acknowledged of its images.
type killed struct {
	repo string
	// layouts are the images by their CIDs.
	layouts map[string]string
	kept    map[string]bool
	rounds  map[string]int // that a command of a kind was killed in time
}

// A host whose commands are killed over and over, at random instants, opens
// each time, has the images that were acknowledged and no others, and each of
// them whole.
func TestKilledKeeping(t *testing.T) {
	const kills, rounds = 200, 1000
	k := &killed{repo: tempDir(t), layouts: map[string]string{}, kept: map[string]bool{}, rounds: map[string]int{}}
	dir := t.TempDir()
	for n, format := range []string{"layout", "nerdctl", "layout", "nerdctl"} {
		spec := smallImage(t, filepath.Join(dir, fmt.Sprint(n)))
		cid := push(t, k.repo, "--format", format, spec)
		k.layouts[cid], k.kept[cid] = "--format="+format+" "+spec, true
	}
	cids, verbs := slices.Sorted(maps.Keys(k.layouts)), []string{"rm", "add", "push", "gc", "verify"}
	lasts := map[string]time.Duration{}
	for round := 0; k.kills() < kills; round++ {
		if round == rounds {
			t.Fatalf("of %d commands only %v were killed in time", rounds, k.rounds)
		}
		cid := cids[rand.N(len(cids))]
		verb := verbs[rand.N(len(verbs))]
		k.round(t, verb, cid, lasts)
		if round%25 == 24 {
			k.verify(t)
		}
		if t.Failed() {
			t.Fatalf("after %s of %s in round %d", verb, cid, round)
		}
	}
	k.verify(t)
	t.Logf("killed in time: %v", k.rounds)
	for _, verb := range verbs {
		if k.rounds[verb] == 0 {
			t.Errorf("no %s was ever killed", verb)
		}
	}
}

// kills is how many commands were killed.
func (k *killed) kills() int {
	n := 0
	for _, of := range k.rounds {
		n += of
	}
	return n
}

// smallImage makes an image of a layer that many have and one of its own.
func smallImage(t testing.TB, dir string) string {
	t.Helper()
	if err := makeLayout(dir, func(w *layoutWriter) error {
		shared, err := w.layer(files{"shared": {[]byte(strings.Repeat("shared ", 50_000)), 0o644}}.write)
		if err != nil {
			return err
		}
		own, err := w.layer(files{"own": {[]byte(dir), 0o644}}.write)
		if err != nil {
			return err
		}
		m, err := w.image(platform("amd64"), []string{"/none"}, shared, own)
		return w.tag(m, err)
	}); err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir + ":" + imageTag
}

// round runs a command and kills it, unless it ends first, and sees what became
// of the images.
func (k *killed) round(t *testing.T, verb, cid string, lasts map[string]time.Duration) {
	t.Helper()
	args := map[string][]string{
		"rm": {"pin", "rm", cid}, "add": {"pin", "add", "--offline", "--fetch-timeout=1s", cid},
		"push": append([]string{"push"}, strings.Fields(k.layouts[cid])...), "gc": {"gc"},
		"verify": {"pin", "verify", "--all", "--fetch-timeout=1s"},
	}[verb]
	began := time.Now()
	p, err := launch(verb, cli(t.Context(), k.repo, args...))
	if err != nil {
		t.Fatal(err)
	}
	// Some are left alone, and say how long the others take.
	within := time.Minute
	if lasts[verb] > 0 && rand.N(8) > 0 {
		within = rand.N(lasts[verb])
	}
	acknowledged := false
	select {
	case <-p.done:
		acknowledged = p.err == nil
		lasts[verb] = time.Since(began)
	case <-time.After(within):
		if err := p.signal(syscall.SIGKILL, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		k.rounds[verb]++
	}
	k.check(t, verb, cid, acknowledged)
}

// check compares what is listed with what was acknowledged. Of the image of a
// command that was killed, either is right.
func (k *killed) check(t *testing.T, verb, cid string, acknowledged bool) {
	t.Helper()
	found := map[string]bool{}
	for _, p := range pins(t, k.repo) {
		found[p.Root] = p.State == "kept"
	}
	switch {
	case verb == "gc" || verb == "verify":
	case acknowledged:
		k.kept[cid] = verb != "rm"
	default:
		k.kept[cid] = found[cid]
	}
	for cid, kept := range k.kept {
		if found[cid] != kept {
			t.Errorf("%s is kept: %t; want %t", cid, found[cid], kept)
		}
	}
}

// verify reads every image that is kept, each blob against its digest, after
// all else has been collected.
func (k *killed) verify(t *testing.T) {
	t.Helper()
	collect(t, k.repo)
	for cid, kept := range k.kept {
		if !kept {
			continue
		}
		if _, err := output(cli(t.Context(), k.repo, "pull", "--offline", cid, "oci:"+filepath.Join(t.TempDir(), cid))); err != nil {
			t.Errorf("an image that is kept cannot be read: %v", err)
		}
	}
}
