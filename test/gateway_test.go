package test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A static registry behind the gateway of a stock Kubo, which knows nothing of
// images: whose client takes what. docs/forms.md has the same table.
func TestPlainGateway(t *testing.T) {
	links := map[string]string{}
	k := kuboNode(t, settings{"Gateway.PublicGateways": map[string]any{"localhost": nil}, "DNS.Resolvers": map[string]string{"localhost.": "http://" + dnsServer(t, links)}})
	cid := push(t, tempDir(t), "--ipfs-address", k.api, "--format", "static", "--schema1", "--name", "example/app:v1", testImages(t).scratch.spec())
	links["_dnslink.localhost."] = "dnslink=/ipfs/" + cid
	host := "localhost" + k.gateway[strings.LastIndex(k.gateway, ":"):]

	if a := request(t, http.MethodGet, "http://"+host+"/v2/"); a.StatusCode != http.StatusOK {
		t.Errorf("the ping of clients: %s", a.Status)
	}
	var list struct{ Tags []string }
	a := request(t, http.MethodGet, "http://"+host+"/v2/example/app/tags/list")
	if err := json.Unmarshal(a.body, &list); err != nil || strings.Join(list.Tags, " ") != "v1 v1-schema1" {
		t.Errorf("tags/list: %s, %v", a.body, err)
	}

	// What it costs over a layout are directories and small documents: every
	// block of the layout but its root and its index is one of the registry's.
	layout := push(t, tempDir(t), "--ipfs-address", k.api, testImages(t).scratch.spec())
	blocks := func(cid string) []string {
		return strings.Fields(must(t, k.ipfs(t, "refs", "-r", "-u", cid)))
	}
	ofRegistry, shared := blocks(cid), 0
	for _, block := range blocks(layout) {
		if slices.Contains(ofRegistry, block) {
			shared++
		}
	}
	t.Logf("the layout has %d blocks, the registry %d, %d of them the same", len(blocks(layout)), len(ofRegistry), shared)
	if shared < len(blocks(layout))-1 {
		t.Errorf("%d of the layout's %d blocks are the registry's", shared, len(blocks(layout)))
	}

	c, d := containerdEngine(t), dockerEngine(t)
	clients := map[string]func(t *testing.T, image string) error{
		"skopeo": func(t *testing.T, image string) error {
			_, err := output(command(t.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "docker://"+image, "oci:"+t.TempDir()+":"+imageTag))
			return err
		},
		"podman": func(t *testing.T, image string) error {
			_, err := output(storage(t, "podman")("pull", "--quiet", "--tls-verify=false", image))
			return err
		},
		"docker": func(t *testing.T, image string) error {
			out, err := output(d.cmd(t, "run", "--rm", "--net=host", image))
			if err == nil {
				t.Cleanup(func() { d.forget(t, image) })
				expectGreeting(t, out)
			}
			return err
		},
		"containerd": func(t *testing.T, image string) error {
			_, err := output(c.nerdctl(t, namespaceOf(t), "pull", "--quiet", image))
			return err
		},
		"crane manifest": func(t *testing.T, image string) error {
			_, err := output(command(t.Context(), tool("crane"), "manifest", "--insecure", image))
			return err
		},
		"crane pull": func(t *testing.T, image string) error {
			_, err := output(command(t.Context(), tool("crane"), "pull", "--insecure", image, filepath.Join(t.TempDir(), "out.tar")))
			return err
		},
	}
	for _, s := range []struct {
		client, tag, fails string
	}{
		{"crane manifest", "v1", ""},
		{"crane pull", "v1", ""},
		{"skopeo", "v1", "unsupported schema version 2"},
		{"podman", "v1", "unsupported schema version 2"},
		{"docker", "v1", "missing signature key"},
		{"containerd", "v1", "application/json"},
		{"skopeo", "v1-schema1", ""},
		{"podman", "v1-schema1", ""},
		{"docker", "v1-schema1", ""},
		{"containerd", "v1-schema1", "application/json"},
		{"crane pull", "v1-schema1", "application/json"},
	} {
		t.Run(s.client+" "+s.tag, func(t *testing.T) {
			err := clients[s.client](t, host+"/example/app:"+s.tag)
			if s.fails == "" && err != nil || s.fails != "" && (err == nil || !strings.Contains(err.Error(), s.fails)) {
				t.Errorf("%v; want %q", err, s.fails)
			}
		})
	}
	// From ours, both are pulled: the gateway is all that it needs.
	worker := serve(t, tempDir(t), "--offline", "--gateway", "http://"+k.gateway)
	expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t), "run", "--rm", "--quiet", "--net=host", worker.name(cid)+"/example/app:v1")))
	if out, err := output(cli(t.Context(), tempDir(t), "resolve", "--offline", "--gateway", "http://"+k.gateway, "ipfs://"+cid+"/example/app:v1-schema1")); err == nil || !strings.Contains(err.Error(), "schema 1") {
		t.Errorf("%s, %v; want an error about schema 1", out, err)
	}
}
