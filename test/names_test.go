package test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A team publishes under a name, in a network of its own; workers pull by the
// name and get what it leads to now.
func TestNameThatMoves(t *testing.T) {
	images, c, d := testImages(t), containerdEngine(t), dockerEngine(t)
	team := serve(t, tempDir(t))
	worker := serve(t, tempDir(t), "--peer", team.address(t))
	first, second := push(t, team.repo, images.scratch.spec()), push(t, team.repo, images.multi.spec())
	var name string
	publish := func(cid string) {
		t.Helper()
		eventually(t, startLimit, "the name is announced", func() error {
			cmd := cli(t.Context(), team.repo, "publish", "name", "--key", "team", "--ttl", "1s", "ipfs://"+cid)
			var said strings.Builder
			cmd.Stderr = &said
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, said.String())
			}
			_, name, _ = strings.Cut(lastLine(string(out)), "/")
			if strings.Contains(said.String(), "nobody else knows") {
				return errors.New(said.String())
			}
			return nil
		})
	}
	manifest := func() answer {
		return request(t, http.MethodGet, "http://"+worker.host+"/v2/"+name+"/manifests/latest")
	}

	publish(first)
	image := worker.host + "/" + name
	t.Cleanup(func() { d.forget(t, image) })
	expectGreeting(t, must(t, d.cmd(t, "run", "--rm", "--net=host", image)))
	expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t), "run", "--rm", "--quiet", "--net=host", image)))
	must(t, command(t.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "docker://"+image, "dir:"+t.TempDir()))
	if out := must(t, cli(t.Context(), worker.repo, "resolve", "ipns://"+strings.TrimPrefix(name, "ipns/"))); !strings.Contains(out, first) {
		t.Errorf("resolve says %s; want %s", out, first)
	}

	publish(second)
	eventually(t, startLimit, "the worker sees the name move", func() error {
		if got := manifest().Header.Get("Docker-Content-Digest"); got != images.multi.desc.Digest.String() {
			return fmt.Errorf("it serves %s", got)
		}
		return nil
	})
	expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t)+"-again", "run", "--rm", "--quiet", "--net=host", image)))
}

// A worker without libp2p follows what a stock Kubo publishes, by its gateway:
// the name is signed, and a DNSLink leads to it. When the gateway is gone, it
// serves what it knew last, and says so.
func TestNameByGatewayAndDNS(t *testing.T) {
	k := kuboNode(t, settings{"Routing.Type": "dht", "Routing.LoopbackAddressesOnLanDHT": true})
	serve(t, tempDir(t), "--peer", k.address()) // the rest of its network
	cid := push(t, tempDir(t), "--ipfs-address", k.api, testImages(t).scratch.spec())
	name := ""
	eventually(t, startLimit, "Kubo publishes the name", func() error {
		out, err := output(k.ipfs(t, "name", "publish", "--quieter", "--ttl=1s", "/ipfs/"+cid))
		name = lastLine(out)
		return err
	})
	worker := serve(t, tempDir(t), "--offline", "--gateway", "http://"+k.gateway, "--names-moving", "all",
		"--names-dns", "example.=http://"+dnsServer(t, map[string]string{"_dnslink.images.example.": "dnslink=/ipns/" + name}))
	for _, name := range []string{name, "images.example"} {
		must(t, command(t.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false",
			"docker://"+worker.host+"/ipns/"+name, "dir:"+t.TempDir()))
	}
	// The gateway may be named in the reference, and is all that a verb needs.
	if out := must(t, cli(t.Context(), tempDir(t), "resolve", "--offline", "http://"+k.gateway+"/ipns/"+name)); !strings.Contains(out, cid) {
		t.Errorf("resolve says %s; want %s", out, cid)
	}
	if out := must(t, cli(t.Context(), worker.repo, "resolve", "http://"+k.gateway+"/ipfs/"+cid)); !strings.Contains(out, cid) {
		t.Errorf("resolve says %s; want %s", out, cid)
	}

	k.stop()
	wantStale(t, worker, name)
	worker.terminate(t)
	wantStale(t, serve(t, worker.repo, "--offline"), name)
}

// wantStale waits until the daemon says that it serves what a name led to before.
func wantStale(t *testing.T, d *daemon, name string) {
	t.Helper()
	eventually(t, startLimit, "the daemon says that it could not ask", func() error {
		a := request(t, http.MethodGet, "http://"+d.host+"/v2/ipns/"+name+"/manifests/latest")
		if a.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", a.Status, a.body)
		}
		if warning := a.Header.Get("Warning"); !strings.HasPrefix(warning, `299 - "/ipns/`+name+` could not be resolved again`) {
			return fmt.Errorf("Warning: %q", warning)
		}
		return nil
	})
}

// dnsServer answers DNS over HTTPS, without the S, and returns its address.
func dnsServer(t *testing.T, txt map[string]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
			a.Answer = append(a.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{text}})
		}
		packed, err := a.Pack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/dns-message")
		_, _ = w.Write(packed)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}
