package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// lan is a switch in a network namespace of its own, with the test plugged in.
type lan struct {
	name  string // and the beginning of the names of all that belongs to it
	net   string // the first three bytes of its addresses
	hosts int
}

func newLAN(t testing.TB) *lan {
	t.Helper()
	endToEnd(t)
	number := rand.IntN(1 << 24) // others may run tests on this machine
	l := &lan{name: "ir" + strconv.FormatInt(int64(number), 36), net: fmt.Sprintf("10.213.%d", number%256), hosts: 1}
	namespace(t, l.name)
	ip(t, "-n", l.name, "link", "add", "switch", "type", "bridge")
	ip(t, "-n", l.name, "link", "set", "switch", "up")
	ip(t, "link", "add", l.name, "type", "veth", "peer", "name", "test", "netns", l.name)
	t.Cleanup(func() { must(t, command(context.Background(), "ip", "link", "del", l.name)) })
	ip(t, "-n", l.name, "link", "set", "test", "master", "switch", "up")
	ip(t, "addr", "add", l.net+".1/24", "dev", l.name)
	ip(t, "link", "set", l.name, "up")
	return l
}

func namespace(t testing.TB, name string) {
	t.Helper()
	ip(t, "netns", "add", name)
	t.Cleanup(func() { must(t, command(context.Background(), "ip", "netns", "del", name)) })
}

func ip(t testing.TB, args ...string) { t.Helper(); must(t, command(t.Context(), "ip", args...)) }

// machine is a network namespace with a cable to the switch.
type machine struct {
	lan           *lan
	namespace, ip string
	cable         string // its end at the switch
}

// machine adds one.
func (l *lan) machine(t testing.TB) *machine {
	t.Helper()
	l.hosts++
	m := &machine{lan: l, namespace: fmt.Sprintf("%s-%d", l.name, l.hosts), ip: fmt.Sprintf("%s.%d", l.net, l.hosts), cable: fmt.Sprintf("cable%d", l.hosts)}
	namespace(t, m.namespace)
	ip(t, "-n", l.name, "link", "add", m.cable, "type", "veth", "peer", "name", "eth0", "netns", m.namespace)
	ip(t, "-n", l.name, "link", "set", m.cable, "master", "switch", "up")
	ip(t, "-n", m.namespace, "addr", "add", m.ip+"/24", "dev", "eth0")
	ip(t, "-n", m.namespace, "link", "set", "lo", "up")
	ip(t, "-n", m.namespace, "link", "set", "eth0", "up")
	ip(t, "-n", m.namespace, "route", "add", "224.0.0.0/4", "dev", "eth0")
	return m
}

// limit limits what the machine sends.
func (m *machine) limit(t testing.TB, rate string) {
	t.Helper()
	must(t, command(t.Context(), "tc", "-n", m.namespace, "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "128kb", "latency", "400ms"))
}

// sent is how many bytes have gone through the limit.
func (m *machine) sent(t testing.TB) int64 {
	t.Helper()
	var disciplines []struct{ Bytes int64 }
	decode(t, []byte(must(t, command(t.Context(), "tc", "-n", m.namespace, "-s", "-j", "qdisc", "show", "dev", "eth0"))), &disciplines)
	return disciplines[0].Bytes
}

// plug connects the cable of the machine, or takes it out.
func (m *machine) plug(t testing.TB, in bool) {
	t.Helper()
	ip(t, "-n", m.lan.name, "link", "set", m.cable, map[bool]string{true: "up", false: "down"}[in])
}

// on has a command run on the machine.
func (m *machine) on(cmd *exec.Cmd) *exec.Cmd {
	cmd.Args = append([]string{"nsenter", "--net=/run/netns/" + m.namespace, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/usr/bin/nsenter"
	return cmd
}

// launch starts a node of ours on the machine, which the test and the other
// machines reach. The caller waits until it is ready.
func (m *machine) launch(t testing.TB, repo string, flags ...string) *daemon {
	t.Helper()
	d := &daemon{repo: repo, host: m.ip + ":" + port(t), admin: m.ip + ":" + port(t)}
	d.process = start(t, "the node on "+m.ip, m.on(cli(t.Context(), repo, append([]string{"serve", "--bootstrap", "none",
		"--listen", d.host, "--admin", d.admin, "--swarm-listen", "/ip4/0.0.0.0/tcp/4001"}, flags...)...)))
	return d
}

func (m *machine) serve(t testing.TB, repo string, flags ...string) *daemon {
	t.Helper()
	d := m.launch(t, repo, flags...)
	if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
		t.Fatal(err)
	}
	return d
}

// swarm is the address of the node on the machine.
func (m *machine) swarm(id string) string { return "/ip4/" + m.ip + "/tcp/4001/p2p/" + id }

// A node of ours and a stock Kubo, each behind a slow link, serve a third.
func TestNetworkNamespaces(t *testing.T) {
	t.Parallel() // it mostly waits
	l, layer := randomImage(t)
	net := newLAN(t)
	one, two, three := net.machine(t), net.machine(t), net.machine(t)
	repo := tempDir(t)
	cid := push(t, repo, l.spec())
	announced := "/ip4/" + one.ip + "/tcp/4001"
	id := configure(t, repo, settings{"Addresses.Announce": []string{announced}})
	one.serve(t, repo)
	k := startKubo(t, two.ip, two.on, settings{"Experimental.GatewayOverLibp2p": true})
	push(t, tempDir(t), "--ipfs-address", k.api, l.spec())
	for _, m := range []*machine{one, two} {
		m.limit(t, "60mbit")
	}

	t.Run("from both", func(t *testing.T) {
		d := three.serve(t, tempDir(t), "--peer", one.swarm(id), "--peer", k.address())
		eventually(t, startLimit, "both peers are connected", func() error { return d.hasPeers(t, 2) })
		begin(t, d.open(t, cid, layer.Digest), 0).brings(t, layer.Digest)
		if got := d.from(t, "peer"); got < float64(layer.Size) {
			t.Errorf("%.0f bytes came from peers; want %d", got, layer.Size)
		}
		ours, kubos := one.sent(t), two.sent(t)
		if sent := ours + kubos; sent < layer.Size || sent > layer.Size*5/4 {
			t.Errorf("both sent %d bytes for a blob of %d", sent, layer.Size)
		}
		if min(ours, kubos) < layer.Size/5 {
			t.Errorf("ours sent %d bytes and Kubo %d; want a fifth of %d from each", ours, kubos, layer.Size)
		}
		d.terminate(t)
	})
	t.Run("from Kubo", func(t *testing.T) {
		before := k.served(t)
		d := three.serve(t, tempDir(t), "--peer", k.address())
		begin(t, d.open(t, cid, layer.Digest), 0).brings(t, layer.Digest)
		eventually(t, startLimit, "Kubo counts what it sent", func() error { // it sums up once a second
			if served := k.served(t) - before; served < layer.Size {
				return fmt.Errorf("%d of %d bytes", served, layer.Size)
			}
			return nil
		})
		if got := d.from(t, "peer"); got < float64(layer.Size)*0.8 { // Bitswap would bring it too
			t.Errorf("%.0f bytes of %d came by streams", got, layer.Size)
		}
		d.terminate(t)
	})
	t.Run("announced", func(t *testing.T) {
		must(t, k.ipfs(t, "swarm", "connect", one.swarm(id)))
		var seen struct{ Addresses []string }
		decode(t, []byte(must(t, k.ipfs(t, "id", id))), &seen)
		if len(seen.Addresses) != 1 || seen.Addresses[0] != announced+"/p2p/"+id {
			t.Errorf("it announces %q; want %s", seen.Addresses, announced)
		}
		must(t, k.ipfs(t, "swarm", "disconnect", one.swarm(id)))
	})
	// The cable is out in the middle of a blob, and back before anybody gives up.
	t.Run("partition", func(t *testing.T) {
		before := one.sent(t)
		d := three.serve(t, tempDir(t), "--peer", one.swarm(id))
		got := begin(t, d.open(t, cid, layer.Digest), 0)
		got.underWay(t)
		one.plug(t, false)
		quiet(t, got)
		one.plug(t, true)
		got.brings(t, layer.Digest)
		if sent := one.sent(t) - before; sent < layer.Size {
			t.Errorf("%d bytes went over the cable; want %d", sent, layer.Size)
		}
		if bytes := metric(t, d, "ipfs_registry_retrieval_bytes_total"); bytes > float64(layer.Size*5/4) {
			t.Errorf("%.0f bytes of blocks came for a blob of %d", bytes, layer.Size)
		}
	})
}

// served is how many bytes Kubo says that it sent to peers.
func (k *kubo) served(t testing.TB) int64 {
	t.Helper()
	_, address, _ := strings.Cut(k.api, "/ip4/")
	var bandwidth struct{ TotalOut int64 }
	decode(t, request(t, http.MethodPost, "http://"+strings.Replace(address, "/tcp/", ":", 1)+"/api/v0/stats/bw").body, &bandwidth)
	return bandwidth.TotalOut
}

// quiet waits until a download that is not over gets nothing for a while.
func quiet(t testing.TB, d *download) {
	t.Helper()
	had, since := d.came.Load(), time.Now()
	eventually(t, startLimit, "nothing comes any more", func() error {
		if n := d.came.Load(); n != had {
			had, since = n, time.Now()
		}
		if took := time.Since(since); took < time.Second {
			return fmt.Errorf("for %s", took)
		}
		return nil
	})
	select {
	case <-d.done:
		t.Fatalf("all %d bytes had come before the cable was out", had)
	default:
	}
}

func (d *daemon) hasPeers(t testing.TB, want int) error {
	out, err := output(cli(t.Context(), d.repo, "swarm", "peers", "--json"))
	if err != nil {
		return err
	}
	return hasPeers(out, want)
}

// Nodes on one network find each other when they are told to look, and only
// then: two of four that share a key. The fifth looks too, and has another key.
func TestMulticastDNS(t *testing.T) {
	images, net := testImages(t), newLAN(t)
	keyFile := func() string {
		file := filepath.Join(tempDir(t), "key")
		if err := os.WriteFile(file, []byte(must(t, cli(t.Context(), tempDir(t), "swarm", "key"))), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	ours, theirs := []string{"--private", "--swarm-key-file", keyFile()}, []string{"--private", "--swarm-key-file", keyFile(), "--fetch-timeout", "2s", "--log-level", "debug"}
	repo := tempDir(t)
	cid := push(t, repo, images.scratch.spec())
	silent := net.machine(t).launch(t, tempDir(t), ours...)
	a := net.machine(t).launch(t, repo, append(ours, "--node-mdns")...)
	b := net.machine(t).launch(t, tempDir(t), append(ours, "--node-mdns")...)
	stranger := net.machine(t).launch(t, tempDir(t), append(theirs, "--node-mdns")...)
	for _, d := range []*daemon{silent, a, b, stranger} {
		if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []*daemon{a, b} {
		eventually(t, 2*startLimit, "a and b are connected", func() error { return d.hasPeers(t, 1) })
	}
	if got := request(t, "GET", b.url("%s/manifests/latest", cid)); got.StatusCode != 200 {
		t.Errorf("b has no manifest from a: %s %s", got.Status, got.body)
	}
	if !listensForMulticastDNS(t, a) || listensForMulticastDNS(t, silent) {
		t.Error("a node listens for multicast DNS that was not told to, or the other way round")
	}
	if err := silent.hasPeers(t, 0); err != nil {
		t.Error(err)
	}
	stranger.logs(t, "no connection to a peer of the local network") // so it has tried
	if err := stranger.hasPeers(t, 0); err != nil {
		t.Error(err)
	}
	if got := request(t, "GET", stranger.url("%s/manifests/latest", cid)); got.StatusCode != 504 {
		t.Errorf("the stranger got %s", got.Status)
	}
}

// listensForMulticastDNS looks for port 5353 among the UDP sockets of the
// daemon's network namespace.
func listensForMulticastDNS(t testing.TB, d *daemon) bool {
	t.Helper()
	for _, table := range []string{"udp", "udp6"} {
		sockets, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", d.cmd.Process.Pid, table))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(sockets), ":14E9 ") {
			return true
		}
	}
	return false
}
