package node

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

// Who needs other parts of a file of which nothing is here does not wait for its
// root, which is under way for somebody else, to ask for them.
func TestPartsOfAColdFileComeSideBySide(t *testing.T) {
	st, roots, all := gatedFiles(t, 40<<20)
	root, path := roots[0], image.Path{Root: roots[0]}
	g := newGated(honest(t, st), root)
	n := behind(t, patience, serveGateway(t, g))
	n.content.haunts.max = 0 // nothing around them, for the one that comes after others
	offsets := []int64{0, 10 << 20, 20 << 20, 30 << 20}
	done := make(chan bool, len(offsets))
	for i, from := range offsets {
		go func() { done <- bytes.Equal(readRange(t, n, path, from, from+9), all[0][from:from+9]) }()
		eventually(t, "it is asked for", func() bool { return g.count(g.asked, root) == i+1 })
	}
	close(g.held[root.String()])
	for range offsets {
		if !<-done {
			t.Error("a range has other bytes")
		}
	}
	if got := blocksFrom(n, n.supply.sources()[0].label); got != 5 {
		t.Errorf("%d blocks came, want the root and 4 leaves", got)
	}
}

// Nor does who needs another file, however many directories lead to both.
func TestFilesBelowColdDirectoriesComeSideBySide(t *testing.T) {
	st := memoryStore(t)
	a, all := adder{t, offlineContent(st)}, [][]byte{randomBytes(12, 3<<20), randomBytes(13, 3<<20), randomBytes(14, 3<<20)}
	root := a.AddDir(map[string]cid.Cid{"blobs/sha256/0": a.AddFile(all[0]), "blobs/sha256/1": a.AddFile(all[1]), "blobs/sha256/2": a.AddFile(all[2])})
	for range 20 { // of several streams that bring the same, any may be the first
		g := newGated(honest(t, st), root)
		n := behind(t, patience, serveGateway(t, g))
		done := make(chan bool, len(all))
		for i, data := range all {
			path := image.Path{Root: root}.Join("blobs", "sha256", strconv.Itoa(i))
			go func() { done <- bytes.Equal(readRange(t, n, path, 1<<20, 1<<20+9), data[1<<20:1<<20+9]) }()
			eventually(t, "it is asked for", func() bool { return g.count(g.asked, root) == i+1 })
		}
		close(g.held[root.String()])
		for range all {
			if !<-done {
				t.Error("a range has other bytes")
			}
		}
		if asked := g.all(); len(asked) > 1 {
			t.Fatalf("asked for are %v, want three times the root", asked)
		}
	}
}

// Who comes when the directory is here and not stored yet waits for that: what a
// stream brought for it, nobody would take.
func TestAFileBelowADirectoryThatIsBeingStored(t *testing.T) {
	st := memoryStore(t)
	a, all := adder{t, offlineContent(st)}, [][]byte{randomBytes(15, 3<<20), randomBytes(16, 3<<20)}
	files := map[string]cid.Cid{"0": a.AddFile(all[0]), "1": a.AddFile(all[1])}
	dir := a.AddDir(files)
	root := a.AddDir(map[string]cid.Cid{"blobs/sha256/0": files["0"], "blobs/sha256/1": files["1"]})
	g := newGated(honest(t, st))
	n := behind(t, patience, serveGateway(t, g))
	n.content.haunts.max = 0 // nothing around the file that is read second
	storing, stored := slowToStore(n, dir)
	done := make(chan bool, len(all))
	read := func(i int) {
		path := image.Path{Root: root}.Join("blobs", "sha256", strconv.Itoa(i))
		done <- bytes.Equal(readRange(t, n, path, 1<<20, 1<<20+9), all[i][1<<20:1<<20+9])
	}
	go read(0)
	<-storing
	go read(1)
	eventually(t, "both wait for the directory", func() bool { return waiters(n, dir) == 2 })
	close(stored)
	for range all {
		if !<-done {
			t.Error("a range has other bytes")
		}
	}
	if got, want := g.all(), map[string]int{root.String(): 1, files["1"].String(): 1}; !maps.Equal(got, want) {
		t.Errorf("asked for are %v, want %v", got, want)
	}
}

// waiters is how many wait for a block.
func waiters(n *Node, c cid.Cid) int {
	n.supply.mu.Lock()
	defer n.supply.mu.Unlock()
	if f := n.supply.flights[c]; f != nil {
		return len(f.waiters)
	}
	return 0
}

// slowToStore has a node store one block when stored is closed and not before.
func slowToStore(n *Node, c cid.Cid) (storing, stored chan struct{}) {
	storing, stored = make(chan struct{}), make(chan struct{})
	keep := n.supply.keep
	n.supply.keep = func(ctx context.Context, b blocks.Block) error {
		if b.Cid() == c {
			close(storing)
			<-stored
		}
		return keep(ctx, b)
	}
	return storing, stored
}

// What an image layout begins with is asked for with its root.
func TestALayoutComesWithItsRoot(t *testing.T) {
	st := memoryStore(t)
	b := imagetest.Blobs{}
	root := b.Layout(adder{t, offlineContent(st)}, nil, b.Image("amd64", []byte("layer")))
	g := newGated(honest(t, st), root)
	n := behind(t, patience, serveGateway(t, g))
	done := make(chan error, 1)
	go func() {
		m, err := newResolver(n.content).Manifest(t.Context(), image.Path{Root: root}, "latest")
		if err == nil {
			_, err = io.Copy(io.Discard, m)
		}
		done <- err
	}()
	eventually(t, "all is asked for", func() bool { return g.count(g.asked, root) == 4 })
	close(g.held[root.String()])
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// That a root is of no layout is nothing against whoever was asked.
func TestNoLayoutIsNoFault(t *testing.T) {
	st, roots, _ := gatedFiles(t, 3<<20)
	n := behind(t, patience, serveGateway(t, honest(t, st)))
	_, err := newResolver(n.content).Manifest(t.Context(), image.Path{Root: roots[0]}, "latest")
	if image.ClassOf(err) != image.NotImage {
		t.Errorf("%v", err)
	}
	eventually(t, "nothing is under way", func() bool {
		streams, _ := n.supply.sources()[0].load()
		return streams == 0
	})
	if got := testutil.ToFloat64(n.supply.metrics.errors.WithLabelValues(n.supply.sources()[0].label)); got != 0 {
		t.Errorf("the gateway failed %v times", got)
	}
}

// A gateway that answers 404 for a name below a root that it has says nothing of
// the root, which is asked for by itself.
func TestNoNameIsNoAbsence(t *testing.T) {
	st, roots, files := gatedFiles(t, 3<<20)
	good := honest(t, st)
	n := behind(t, 5*time.Second, serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Count(r.URL.Path, "/") > len([]string{"ipfs", "CID"}) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		good.ServeHTTP(w, r)
	})))
	p := image.Path{Root: roots[0]}
	if _, err := n.Open(t.Context(), p.Join("oci-layout")); image.ClassOf(err) != image.NotFound {
		t.Errorf("%v", err)
	}
	if got, err := readCold(t, n, p); err != nil || !bytes.Equal(got, files[0]) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}
