package test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// serving is a kind of source, of which there are two. The one that serves is
// killed in the middle.
type serving struct {
	name   string
	links  []*link
	hosts  []*process // at their far ends
	flags  []string   // of the node that pulls
	labels []string   // of the metric that counts what such sources send
	says   string     // in the log of the node that pulls
	puller *daemon
	got    *download
}

// A source that is killed in the middle of a blob is replaced by another, and
// the client does not notice. The sources are ours, stock Kubo nodes that stream
// over libp2p, such that only speak Bitswap, and Kubo's gateway.
func TestKilledSource(t *testing.T) {
	t.Parallel() // it mostly waits
	l, layer := randomImage(t)
	all, cid := servingAll(t, startToxiproxy(t), l)
	for _, s := range all {
		s.puller = launchPuller(t, append(s.flags, "--log-level", "debug")...)
	}
	for _, s := range all {
		s.got = begin(t, s.puller.open(t, cid, layer.Digest), 0)
		victim := slices.Index(s.links, s.got.busiest(t, s.links))
		if err := s.hosts[victim].signal(syscall.SIGKILL, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		s.links[1-victim].unlimited(t)
	}
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) { s.check(t, layer) })
	}
}

func (s *serving) check(t *testing.T, layer ocispec.Descriptor) {
	s.got.brings(t, layer.Digest)
	// The exchange stores a block before it tells of it, and the blob may be over by then.
	eventually(t, startLimit, "all is counted", func() error {
		got := 0.0
		for _, label := range s.labels {
			got += s.puller.from(t, label)
		}
		if got < float64(layer.Size) {
			return fmt.Errorf("%.0f bytes came from %q; want %d", got, s.labels, layer.Size)
		}
		return nil
	})
	s.puller.logs(t, s.says)
}

// servingAll starts two of each kind. The streaming Kubos are of no use to any
// other kind, for one of them is killed.
func servingAll(t *testing.T, far *toxiproxy, l layout) (all []*serving, cid string) {
	t.Helper()
	const asksForCAR = "format=car"
	// What a stream is late with may come by Bitswap meanwhile.
	ours := &serving{name: "ours", labels: []string{"peer", "bitswap"}, says: asksForCAR}
	streams := &serving{name: "Kubo that streams", labels: []string{"peer", "bitswap"}, says: asksForCAR}
	// Bitswap itself may take a while to ask another for what the dead one had been asked for.
	bitswap := &serving{name: "Kubo with only Bitswap", labels: []string{"bitswap"}, says: "asking the exchange", flags: []string{"--fetch-timeout", "60s"}}
	gateways := &serving{name: "Kubo's gateway", says: asksForCAR, flags: []string{"--offline"}}
	for range 2 {
		var s *seed
		s, cid = startSeed(t, l)
		ours.add(s.process, far.link(t, s.swarm, slowRate), s.id)
		for _, of := range []*serving{streams, bitswap, gateways} {
			k := kuboNode(t, unannounced(), settings{"Experimental.GatewayOverLibp2p": of == streams})
			if got := push(t, tempDir(t), "--ipfs-address", k.api, l.spec()); got != cid {
				t.Fatalf("Kubo made %s, we %s", got, cid)
			}
			if of == gateways {
				link := far.link(t, k.gateway, slowRate)
				of.add(k.process, link, "")
				of.labels, of.flags = append(of.labels, "127.0.0.1:"+link.port), append(of.flags, "--gateway", link.url())
				continue
			}
			of.add(k.process, far.link(t, "127.0.0.1:"+k.swarm[strings.LastIndex(k.swarm, "/")+1:], slowRate), k.id)
		}
	}
	return []*serving{ours, streams, bitswap, gateways}, cid
}

// add adds a source, and has it asked if it is a peer.
func (s *serving) add(host *process, by *link, peer string) {
	s.hosts, s.links = append(s.hosts, host), append(s.links, by)
	if peer != "" {
		s.flags = append(s.flags, "--peer", by.multiaddr(peer))
	}
}
