package test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// document is a page of docs, whose commands are run.
type document struct {
	text     string
	replacer *strings.Replacer
	dir      string
	env      []string
}

// commands are those after "$ " in the section with the title.
func (d *document) commands(t testing.TB, title string) []string {
	t.Helper()
	_, section, ok := strings.Cut(d.text, "\n## "+title+"\n")
	if !ok {
		t.Fatalf("no section %q", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^\$ (.*)$`).FindAllStringSubmatch(section, -1) {
		all = append(all, d.replacer.Replace(m[1]))
	}
	if len(all) == 0 {
		t.Fatalf("the section %q has no command", title)
	}
	return all
}

func (d *document) run(t testing.TB, line string) string {
	t.Helper()
	cmd := command(t.Context(), "sh", "-c", line)
	cmd.Dir = d.dir
	cmd.Env = append(cmd.Env, d.env...)
	return must(t, cmd)
}

// clusterPeer is a storage node of docs/cluster.md, as it is written there.
type clusterPeer struct {
	*document
	*process
	kubo              *kubo
	service           string // the URL of its pinning API
	listen, tokenFile string
}

// startClusterPeer follows the section with the title. replace is what else of
// the page is another here.
func startClusterPeer(t *testing.T, title string, replace ...string) *clusterPeer {
	t.Helper()
	text, err := os.ReadFile("../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	p := &clusterPeer{kubo: kuboNode(t), listen: "/ip4/127.0.0.1/tcp/" + port(t)}
	api, dir := port(t), tempDir(t)
	p.service, p.tokenFile = "http://127.0.0.1:"+api, filepath.Join(dir, "token")
	p.document = &document{text: string(text), dir: dir, replacer: strings.NewReplacer(append(replace,
		"/ip4/127.0.0.1/tcp/5001", p.kubo.api, "127.0.0.1:9097", "127.0.0.1:"+api, "/ip4/127.0.0.1/tcp/9097", "/ip4/127.0.0.1/tcp/"+api)...)}
	for _, line := range regexp.MustCompile(`(?m)^CLUSTER_.*$`).FindAllString(p.text, -1) {
		p.env = append(p.env, p.replacer.Replace(line))
	}
	// Only so that several of them run on one host.
	p.env = append(p.env, "IPFS_CLUSTER_PATH="+filepath.Join(dir, "cluster"), "CLUSTER_LISTENMULTIADDRESS="+p.listen,
		"CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/"+port(t), "CLUSTER_IPFSPROXY_LISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/"+port(t))
	// What one says before the others are connected it says again, by default after a minute.
	p.env = append(p.env, "CLUSTER_CRDT_REBROADCASTINTERVAL=1s")
	storage := p.commands(t, title)
	p.run(t, storage[0])
	cmd := command(context.Background(), "sh", "-c", "exec "+storage[1])
	cmd.Env, cmd.Dir = append(cmd.Env, p.env...), dir
	p.process = start(t, "cluster", cmd)
	if err := p.ready(startLimit, httpOK(p.service+"/pins")); err != nil {
		t.Fatal(err)
	}
	return p
}

// id is that of the cluster's peer.
func (p *clusterPeer) id(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, "cluster", "identity.json"))
	if err != nil {
		t.Fatal(err)
	}
	var identity struct{ ID string }
	decode(t, data, &identity)
	return identity.ID
}

// expectPins waits until the peer's Kubo has pinned all of the CIDs.
func (p *clusterPeer) expectPins(t *testing.T, cids ...string) {
	t.Helper()
	eventually(t, time.Minute, "the cluster's Kubo pins the images", func() error {
		pins := must(t, p.kubo.ipfs(t, "pin", "ls", "--type=recursive"))
		for _, cid := range cids {
			if !strings.Contains(pins, cid) {
				return fmt.Errorf("%s is not among %s", cid, pins)
			}
		}
		return nil
	})
}

// The cluster of docs/cluster.md: workers hand images on to it, both of its
// nodes keep them, the workers and one of the nodes go, and other workers have
// the images from the other.
func TestCluster(t *testing.T) {
	images, a := testImages(t), serve(t, tempDir(t))
	same := []string{"THE-SAME-64-HEX-DIGITS", strings.Repeat("c1", 32), "oci:image:v1", images.scratch.spec(), "ipfs-registry ", shared.program + " --repo " + a.repo + " "}
	first := startClusterPeer(t, "A storage node", same...)
	second := startClusterPeer(t, "Another storage node", append(same, "/ip4/192.0.2.1/tcp/9096", first.listen, "CLUSTER-PEER-ID", first.id(t))...)
	first.run(t, first.commands(t, "A storage node")[2])
	token, err := os.ReadFile(first.tokenFile)
	if err != nil || len(token) < 20 {
		t.Fatalf("the token is %q (%v)", token, err)
	}

	publish := first.commands(t, "A worker that publishes")
	cid := lastLine(first.run(t, publish[0]))
	first.run(t, strings.ReplaceAll(publish[1], "CID", cid))
	first.run(t, strings.ReplaceAll(publish[1], "CID", cid)) // it is there
	legacy := push(t, a.repo, "--format", "nerdctl", images.multi.spec())
	out, err := command(t.Context(), "sh", "-c", strings.ReplaceAll(strings.ReplaceAll(publish[1], "CID", legacy), "token-file token", "token-file "+first.tokenFile)).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "does not reach the whole image") {
		t.Errorf("%s (%v); want the form said", out, err)
	}
	first.expectPins(t, cid, legacy)
	second.expectPins(t, cid, legacy)
	testRemoteFailures(t, a, images, first.service, first.tokenFile, strings.TrimSpace(string(token)))
	last := first.commands(t, "What the cluster keeps")
	if got := first.run(t, last[0]); !strings.Contains(got, cid) || !strings.Contains(got, "pinned") {
		t.Errorf("the cluster lists %s", got)
	}

	a.terminate(t)
	for _, p := range []*process{first.process, first.kubo.process} {
		if err := p.signal(syscall.SIGKILL, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	b := serve(t, tempDir(t), "--peer", second.kubo.address())
	for _, c := range []string{cid, legacy} {
		must(t, command(t.Context(), tool("crane"), "validate", "--remote", b.name(c)))
	}
	remote := func(args ...string) string {
		return must(t, cli(t.Context(), b.repo, append(append([]string{"pin", "remote"}, args...), "--service", second.service, "--token-file", first.tokenFile)...))
	}
	if got := remote("ls"); !strings.Contains(got, cid) {
		t.Errorf("what is left of the cluster lists %s", got)
	}
	remote("rm", cid)
	if got := remote("ls"); strings.Contains(got, cid) {
		t.Errorf("removed, the cluster lists %s", got)
	}
}

// What goes wrong is said, and the token is not.
func testRemoteFailures(t *testing.T, d *daemon, images *images, service, tokenFile, token string) {
	t.Helper()
	fails := func(repo string, env []string, says string, args ...string) {
		t.Helper()
		cmd := cli(t.Context(), repo, append([]string{"pin", "remote"}, args...)...)
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(lastLine(string(out)), says) || strings.Contains(string(out), token) {
			t.Errorf("%v: %s (%v); want %q", args, out, err, says)
		}
	}
	lost := tempDir(t)
	cid := push(t, lost, images.artifact.spec())
	fails(lost, nil, "not pinned yet", "add", cid, "--service", service, "--token-file", tokenFile, "--offline", "--wait", "1s")
	fails(d.repo, nil, "check the access token", "ls", "--service", service)
	fails(d.repo, []string{"IPFS_REGISTRY_PIN_SERVICE_TOKEN=x" + token}, "check the access token", "ls", "--service", service)
	fails(d.repo, nil, "a token goes over https only", "ls", "--service", "http://192.0.2.1:9097", "--token-file", tokenFile)
	fails(d.repo, nil, "none is named", "ls")
	fails(d.repo, nil, "has no pin of it", "rm", push(t, d.repo, "--format", "nerdctl", images.scratch.spec()), "--service", service, "--token-file", tokenFile)
	cmd := cli(t.Context(), d.repo, "pin", "remote", "ls", "--service", service)
	cmd.Env = append(cmd.Env, "IPFS_REGISTRY_PIN_SERVICE_TOKEN="+token)
	must(t, cmd)
	if strings.Contains(d.log.String(), token) {
		t.Error("the token is in the log")
	}
	if a := request(t, "GET", "http://"+d.admin+"/livez"); a.StatusCode != http.StatusOK {
		t.Errorf("the daemon is %s", a.Status)
	}
}
