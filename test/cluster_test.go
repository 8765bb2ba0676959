package test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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

// The cluster of docs/cluster.md, as it is written there: workers hand images
// on to it, go, and other workers have them from there.
func TestCluster(t *testing.T) {
	images, k := testImages(t), kuboNode(t)
	text, err := os.ReadFile("../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	a := serve(t, tempDir(t))
	api := port(t)
	doc := &document{text: string(text), dir: dir, replacer: strings.NewReplacer(
		"/ip4/127.0.0.1/tcp/5001", k.api, "127.0.0.1:9097", "127.0.0.1:"+api, "/ip4/127.0.0.1/tcp/9097", "/ip4/127.0.0.1/tcp/"+api,
		"oci:image:v1", images.scratch.spec(), "ipfs-registry ", shared.program+" --repo "+a.repo+" ")}
	for _, line := range regexp.MustCompile(`(?m)^CLUSTER_.*$`).FindAllString(doc.text, -1) {
		doc.env = append(doc.env, doc.replacer.Replace(line))
	}
	// Only so that several of them run on one host.
	doc.env = append(doc.env, "IPFS_CLUSTER_PATH="+filepath.Join(dir, "cluster"), "CLUSTER_LISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/"+port(t),
		"CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/"+port(t), "CLUSTER_IPFSPROXY_LISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/"+port(t))
	storage := doc.commands(t, "A storage node")
	doc.run(t, storage[0])
	cmd := command(context.Background(), "sh", "-c", "exec "+storage[1])
	cmd.Env, cmd.Dir = append(cmd.Env, doc.env...), dir
	if err := start(t, "cluster", cmd).ready(startLimit, httpOK("http://127.0.0.1:"+api+"/pins")); err != nil {
		t.Fatal(err)
	}
	doc.run(t, storage[2])
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil || len(token) < 20 {
		t.Fatalf("the token is %q (%v)", token, err)
	}

	publish := doc.commands(t, "A worker that publishes")
	cid := lastLine(doc.run(t, publish[0]))
	doc.run(t, strings.ReplaceAll(publish[1], "CID", cid))
	doc.run(t, strings.ReplaceAll(publish[1], "CID", cid)) // it is there
	legacy := push(t, a.repo, "--format", "nerdctl", images.multi.spec())
	out, err := command(t.Context(), "sh", "-c", strings.ReplaceAll(strings.ReplaceAll(publish[1], "CID", legacy), "token-file token", "token-file "+filepath.Join(dir, "token"))).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "does not reach the whole image") {
		t.Errorf("%s (%v); want the form said", out, err)
	}
	if pins := must(t, k.ipfs(t, "pin", "ls", "--type=recursive")); !strings.Contains(pins, cid) || !strings.Contains(pins, legacy) {
		t.Errorf("the cluster's Kubo pins %s", pins)
	}
	testRemoteFailures(t, a, images, "http://127.0.0.1:"+api, filepath.Join(dir, "token"), strings.TrimSpace(string(token)))

	a.terminate(t)
	b := serve(t, tempDir(t), "--peer", k.address())
	for _, c := range []string{cid, legacy} {
		must(t, command(t.Context(), tool("crane"), "validate", "--remote", b.name(c)))
	}
	last := doc.commands(t, "What the cluster keeps")
	if got := doc.run(t, last[0]); !strings.Contains(got, cid) || !strings.Contains(got, "pinned") {
		t.Errorf("the cluster lists %s", got)
	}
	doc.run(t, strings.ReplaceAll(last[1], "CID", cid))
	if got := doc.run(t, last[0]); strings.Contains(got, cid) {
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
