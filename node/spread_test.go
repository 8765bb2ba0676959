package node

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfs-registry/ipfs-registry/image"
)

func hostOfNode(t *testing.T, n *Node) host.Host { return kuboOf(t, n).node.PeerHost }

// connectAll connects nodes with one another.
func connectAll(t *testing.T, nodes ...*Node) {
	t.Helper()
	for i, n := range nodes {
		for _, other := range nodes[i+1:] {
			h := hostOfNode(t, other)
			if err := hostOfNode(t, n).Connect(t.Context(), peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range nodes {
		eventually(t, "peers that speak HTTP", func() bool { return len(n.supply.sources()) >= len(nodes) })
	}
}

// Four that pull at once from one whose link is slow get most of it from one
// another.
func TestSpread(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	data := randomBytes(20, 60<<20)
	root := addFile(t, seed, data)
	slow := &link{speed: 20 << 20}
	var nodes []*Node
	var proxies []*delayProxy
	for range 4 {
		p, addr := proxied(t, seed, 0)
		p.link.Store(slow)
		nodes, proxies = append(nodes, startNode(t, loopback(t.TempDir(), addr))), append(proxies, p)
	}
	connectAll(t, nodes...)
	var pulls sync.WaitGroup
	for _, n := range nodes {
		pulls.Go(func() {
			if got, err := readCold(t, n, image.Path{Root: root}); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
	pulls.Wait()
	var sent int64
	for _, p := range proxies {
		sent += p.received.Load()
	}
	copies := float64(sent) / float64(len(data))
	t.Logf("the seed sent %.2f copies", copies)
	if copies > 2.5 {
		t.Errorf("the seed sent %.2f copies to four", copies)
	}
}

// One of those that are counted on dies, and the others get all the same.
func TestSpreadSurvivesALeader(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	data := randomBytes(21, 40<<20)
	root := addFile(t, seed, data)
	slow := &link{speed: 20 << 20}
	var nodes []*Node
	for range 2 {
		p, addr := proxied(t, seed, 0)
		p.link.Store(slow)
		nodes = append(nodes, startNode(t, loopback(t.TempDir(), addr)))
	}
	connectAll(t, nodes...)
	done := make(chan error, 1)
	go func() {
		got, err := readCold(t, nodes[0], image.Path{Root: root})
		if err == nil && !bytes.Equal(got, data) {
			err = errShort
		}
		done <- err
	}()
	f, err := nodes[1].Open(within(t, patience), image.Path{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.(image.LimitedWriterTo).WriteNTo(&bytes.Buffer{}, 10<<20); err != nil {
		t.Fatal(err)
	}
	if err := nodes[1].Close(); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// However many have pulled a DAG, those are noted that pull it now, and no more
// than there is room for.
func TestThoseWhoPulledMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dag := newSpread("self", nil), absent("a DAG")
		for _, round := range []string{"first", "second"} {
			for i := range maxPullers {
				s.heard(dag, fmt.Sprint(round, i))
			}
			if !s.pulling(dag, round+"0") || !s.pulling(dag, fmt.Sprint(round, maxPullers-1)) {
				t.Errorf("the %s who pulled it are not noted", round)
			}
			s.heard(dag, "one more")
			if len(s.dag(dag).by) > maxPullers || s.pulling(dag, "one more") {
				t.Errorf("%d are noted", len(s.dag(dag).by))
			}
			<-time.After(pullingFor)
		}
	})
}

// Nobody has this node fetch what it does not fetch anyway.
func TestSpreadFetchesNothingForOthers(t *testing.T) {
	st, roots, _ := gatedFiles(t, 9<<20)
	g := newGated(honest(t, st))
	n := behind(t, patience, serveGateway(t, g))
	n.supply.spread = newSpread("self", func() []*supplier { return nil })
	if err := n.prefetch(t.Context(), image.Part{Path: image.Path{Root: roots[0]}, To: 1}); err != nil {
		t.Fatal(err)
	}
	before := g.count(g.asked, roots[0])
	long := 0
	s := newCARServer(n.content, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { long++ }))
	q := span{root: roots[0], from: 8 << 20, to: 9 << 20}.query() + "&" + relayQuery + "=" + roots[0].String()
	s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, q, nil))
	if after := g.count(g.asked, roots[0]); after != before || long != 1 {
		t.Errorf("%d requests for another, %d went the long way", after-before, long)
	}
}
