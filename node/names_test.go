package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/exchange/offline"
	boxogateway "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	irouting "github.com/ipfs/kubo/routing"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	corerouting "github.com/libp2p/go-libp2p/core/routing"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfs-registry/ipfs-registry/image"
)

var _ image.NameSystem = (*Node)(nil)

func publishName(t *testing.T, n *Node, key string, p image.Path) NamePublished {
	t.Helper()
	done, err := n.PublishName(t.Context(), NameRecord{Key: key, Path: p.String(), TTL: time.Second, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func target(s string) image.Path { return image.Path{Root: absent(s)} }

// Of two nodes that share nothing but a DHT of their own, one follows where the
// other has its names lead.
func TestNameByDHT(t *testing.T) {
	a := startNode(t, loopback(t.TempDir()))
	b := startNode(t, loopback(t.TempDir(), address(t, a)))
	name := ""
	for _, to := range []image.Path{target("one"), target("two").Join("below"), target("one")} {
		eventually(t, "the name is announced", func() bool {
			done := publishName(t, a, "team", to)
			name = done.Name
			return done.Unannounced == ""
		})
		eventually(t, "the other node follows it", func() bool {
			found, err := b.ResolveName(t.Context(), name)
			if err != nil {
				t.Log(err)
			}
			return err == nil && found.Path == to && found.TTL == time.Second
		})
	}
	if self := publishName(t, a, SelfKey, target("one")); self.Name == name {
		t.Error("two keys have one name")
	}
	if again := publishName(t, a, "team", target("one")); again.Name != name {
		t.Errorf("the key %q has the names %s and %s", "team", name, again.Name)
	}
}

// A node without a host publishes for the daemon that is to come, and knows its
// own names.
func TestNameOffline(t *testing.T) {
	n := behind(t, patience)
	done := publishName(t, n, SelfKey, target("one"))
	if done.Unannounced == "" {
		t.Error("a node without a host says that others know its name")
	}
	found, err := n.ResolveName(t.Context(), done.Name)
	if err != nil || found.Path != target("one") {
		t.Errorf("%v, %v", found, err)
	}
	other := newKey(t)
	if _, err := n.ResolveName(t.Context(), other.name.String()); image.ClassOf(err) != image.Unavailable || !strings.Contains(err.Error(), "has no gateway") {
		t.Errorf("a name that nobody can be asked for: %v", err)
	}
}

// What one process publishes through the daemon's socket, another resolves
// through it.
func TestNameThroughControl(t *testing.T) {
	repo := t.TempDir()
	serveControl(t, startNode(t, loopback(repo)))
	client, err := Dial(t.Context(), repo, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	done := publishName(t, client, "team", target("one"))
	found, err := client.ResolveName(t.Context(), done.Name)
	if err != nil || found.Path != target("one") {
		t.Errorf("%v, %v", found, err)
	}
	_, err = client.ResolveName(t.Context(), "example.org")
	if image.ClassOf(err) != image.Denied {
		t.Errorf("apart from the public network a domain is looked up: %v", err)
	}
}

// testKey signs records.
type testKey struct {
	key  crypto.PrivKey
	name ipns.Name
}

func newKey(t *testing.T) testKey {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return testKey{key, ipns.NameFromPeer(id)}
}

func (k testKey) record(t *testing.T, to string, seq uint64, validFor time.Duration) []byte {
	t.Helper()
	p, err := path.NewPath(to)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ipns.NewRecord(k.key, p, seq, time.Now().Add(validFor), 7*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	data, err := ipns.MarshalRecord(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// recordGateway is a gateway that has nothing but records.
type recordGateway struct{ answer atomic.Value }

func (g *recordGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("format") != "ipns-record" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", recordType)
	_, _ = w.Write(g.answer.Load().([]byte))
}

// A gateway need not be believed: what it sends is signed, and an old record
// does not undo a newer one.
func TestNameByGateway(t *testing.T) {
	k, g := newKey(t), &recordGateway{}
	first, second, third := target("one").String(), target("two").String(), "/ipfs/"+target("three").Root.String()+"/a/b"
	n := behind(t, patience, serveGateway(t, g))
	resolve := func(data []byte) (string, error) {
		g.answer.Store(data)
		found, err := n.ResolveName(t.Context(), k.name.String())
		if err == nil && found.TTL != 7*time.Second {
			t.Errorf("TTL %s", found.TTL)
		}
		if err != nil {
			return "", err
		}
		return found.Path.String(), nil
	}
	for _, s := range []struct {
		name, want string
		record     []byte
	}{
		{"a record", first, k.record(t, first, 1, time.Hour)},
		{"a newer one", second, k.record(t, second, 2, time.Hour)},
		{"an older one", second, k.record(t, first, 1, time.Hour)},
		{"one with a path", third, k.record(t, third, 3, time.Hour)},
	} {
		if got, err := resolve(s.record); err != nil || got != s.want {
			t.Errorf("%s: %s, %v; want %s", s.name, got, err, s.want)
		}
	}
	for name, data := range map[string][]byte{
		"an expired record":    k.record(t, first, 9, -time.Minute),
		"somebody else's":      newKey(t).record(t, first, 9, time.Hour),
		"what is no record":    []byte("<html>"),
		"nothing":              {},
		"more than a record":   make([]byte, ipns.MaxRecordSize+1),
		"one that was changed": append([]byte{}, append(k.record(t, first, 9, time.Hour), 0)...),
	} {
		if got, err := resolve(data); image.ClassOf(err) != image.Unavailable || !strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s is taken for where the name leads: %s, %v", name, got, err)
		}
	}
}

// valueRouting finds one record for every name.
type valueRouting struct {
	irouting.ProvideManyRouter
	record []byte
}

func (r valueRouting) SearchValue(context.Context, string, ...corerouting.Option) (<-chan []byte, error) {
	found := make(chan []byte, 1)
	found <- r.record
	close(found)
	return found, nil
}

// Of a search of the network that went well is told what it found, and no more.
func TestNameByRouting(t *testing.T) {
	n, k := behind(t, patience), newKey(t)
	e := kuboOf(t, n)
	e.node.IsOnline, e.node.Routing = true, valueRouting{e.node.Routing, []byte("no record")}
	_, err := n.ResolveName(t.Context(), k.name.String())
	if image.ClassOf(err) != image.Unavailable || strings.Count(err.Error(), "what it sent is no valid record") != 1 {
		t.Errorf("one answer that is no record: %v", err)
	}
	e.node.Routing = valueRouting{e.node.Routing, k.record(t, target("one").String(), 1, time.Hour)}
	if found, err := n.ResolveName(t.Context(), k.name.String()); err != nil || found.Path != target("one") {
		t.Errorf("%v, %v", found, err)
	}
}

// Any trustless gateway will do.
func TestNameByAnyGateway(t *testing.T) {
	seed := startNode(t, loopback(t.TempDir()))
	e := kuboOf(t, seed)
	backend, err := boxogateway.NewBlocksBackend(blockservice.New(e.node.Blockstore, offline.Exchange(e.node.Blockstore)), boxogateway.WithValueStore(e.node.Routing))
	if err != nil {
		t.Fatal(err)
	}
	url := serveGateway(t, boxogateway.NewHandler(boxogateway.Config{MetricsRegistry: prometheus.NewRegistry(), RetrievalTimeout: time.Minute}, backend))
	done := publishName(t, seed, SelfKey, target("one"))
	found, err := behind(t, patience, "http://127.0.0.1:1", url).ResolveName(t.Context(), done.Name)
	if err != nil || found.Path != target("one") {
		t.Errorf("%v, %v", found, err)
	}
}

// dnsServer answers DNS over HTTPS, without the S.
func dnsServer(t *testing.T, txt map[string]string) string {
	t.Helper()
	return serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q dns.Msg
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = q.Unpack(body)
		}
		if err != nil || len(q.Question) != 1 {
			http.Error(w, "no question", http.StatusBadRequest)
			return
		}
		a := new(dns.Msg).SetReply(&q)
		if text, ok := txt[q.Question[0].Name]; ok && q.Question[0].Qtype == dns.TypeTXT {
			a.Answer = append(a.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 3}, Txt: []string{text}})
		}
		packed, err := a.Pack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/dns-message")
		_, _ = w.Write(packed)
	}))
}

func TestNameByDNS(t *testing.T) {
	k, g := newKey(t), &recordGateway{}
	g.answer.Store(k.record(t, "/ipfs/"+absent("signed").String(), 1, time.Hour))
	server := dnsServer(t, map[string]string{
		"_dnslink.images.example.": "dnslink=" + target("one").Join("x").String(),
		"_dnslink.key.example.":    "dnslink=/ipns/" + k.name.String(),
		"_dnslink.far.example.":    "dnslink=/ipns/images.example/y",
		"_dnslink.loop.example.":   "dnslink=/ipns/loop.example",
		"_dnslink.other.example.":  "dnslink=/ipld/" + absent("cbor").String(),
		"_dnslink.text.example.":   "v=spf1 -all",
	})
	n := startNode(t, Options{RepoPath: t.TempDir(), Names: NamesAll, DNS: []string{".=" + server}, FetchTimeout: patience, Gateways: []string{serveGateway(t, g)}})
	for name, want := range map[string]image.Pointer{
		"images.example": {Path: target("one").Join("x"), TTL: 3 * time.Second},
		"key.example":    {Path: target("signed"), TTL: 3 * time.Second},
		"far.example":    {Path: target("one").Join("x/y"), TTL: 3 * time.Second},
	} {
		if found, err := n.ResolveName(t.Context(), name); err != nil || found.Path != want.Path || found.TTL > want.TTL {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
	for name, want := range map[string]string{
		"loop.example": "more than 8 names", "other.example": "DNSLink", "text.example": "DNSLink", "nobody.example": "DNSLink",
	} {
		if found, err := n.ResolveName(t.Context(), name); image.ClassOf(err) != image.NotFound && name != "loop.example" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
}

// Which names are resolved without being told to depends on the swarm.
func TestNamesAllowed(t *testing.T) {
	for _, s := range []struct {
		setting                   string
		private, public, key, dns bool
	}{
		{setting: NamesAuto, public: true, key: true, dns: true},
		{setting: NamesAuto, key: true},
		{setting: NamesAuto, private: true},
		{setting: NamesKeys, private: true, key: true},
		{setting: NamesAll, private: true, key: true, dns: true},
		{setting: NamesOff, public: true},
	} {
		o := Options{Names: s.setting, Online: true}
		if !s.public && !s.private {
			o.Bootstrap = []string{NoBootstrap}
		}
		e := &embedded{options: o, private: s.private}
		for domain, allowed := range map[bool]bool{false: s.key, true: s.dns} {
			err := namesAllowed(e.moving(), domain, "resolve it")
			if (err == nil) != allowed || err != nil && (image.ClassOf(err) != image.Denied || !strings.Contains(err.Error(), "names.moving")) {
				t.Errorf("%+v, domain %v: %v", s, domain, err)
			}
		}
	}
}

// In a private swarm no name moves, and none is published, unless told to.
func TestNamesInAPrivateSwarm(t *testing.T) {
	repo := privateRepo(t, swarmKey(t))
	record := NameRecord{Key: SelfKey, Path: target("one").String(), TTL: time.Second, Lifetime: time.Hour}
	o := loopback(repo)
	n := startNode(t, o)
	if _, err := n.PublishName(t.Context(), record); image.ClassOf(err) != image.Denied {
		t.Errorf("published: %v", err)
	}
	if _, err := n.ResolveName(t.Context(), newKey(t).name.String()); image.ClassOf(err) != image.Denied {
		t.Errorf("resolved: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	o.Names = NamesKeys
	n = startNode(t, o)
	done := publishName(t, n, SelfKey, target("one"))
	if found, err := n.ResolveName(t.Context(), done.Name); err != nil || found.Path != target("one") {
		t.Errorf("told to: %v, %v", found, err)
	}
}

// Waiting for a name has an end.
func TestNameTimeout(t *testing.T) {
	silent := serveGateway(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	n := behind(t, 200*time.Millisecond, silent)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := n.ResolveName(ctx, newKey(t).name.String())
	if image.ClassOf(err) != image.Unavailable || ctx.Err() != nil {
		t.Error(fmt.Errorf("a gateway that says nothing: %w", err))
	}
}
