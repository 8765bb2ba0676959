package test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// The deployment that docs/deploy.md walks through: an image is pushed and
// pinned on one host; another host, whose only source is a gateway, runs a
// Compose file that names nothing but the CID and the digest. When the image
// can't be had as it was named, it does not run, and the error says why.
func TestDeployFromAGateway(t *testing.T) {
	images, k := testImages(t), kuboNode(t)
	repo := tempDir(t)
	cid := push(t, repo, "--ipfs-address", k.api, images.scratch.spec())
	dgst := images.scratch.desc.Digest
	gateway := "http://" + k.gateway
	good, replaced := replacedManifest(hostile{t, k.repo})

	for name, compose := range composers(t) {
		t.Run(name, func(t *testing.T) {
			worker := gatewayWorker(t, gateway)
			out, err := compose(t, worker.name(cid)+"@"+dgst.String())
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			expectGreeting(t, out)

			another := digest.FromString("another manifest")
			refuses(t, gatewayWorker(t, gateway), compose, cid, another, http.StatusNotFound, "MANIFEST_UNKNOWN", another.String())
			refuses(t, gatewayWorker(t, gateway), compose, replaced, good.manifestDesc.Digest, http.StatusBadGateway, "DIGEST_INVALID", good.manifestDesc.Digest.String())
		})
	}

	stalled := "http://" + stalling(t)
	must(t, k.ipfs(t, "pin", "rm", cid))
	must(t, k.ipfs(t, "repo", "gc", "--quiet"))
	for name, compose := range composers(t) {
		t.Run(name, func(t *testing.T) {
			refuses(t, gatewayWorker(t, gateway), compose, cid, dgst, http.StatusGatewayTimeout, "UNAVAILABLE", cid, k.gateway, "it answers, and has not found this")
			refuses(t, gatewayWorker(t, stalled), compose, cid, dgst, http.StatusGatewayTimeout, "UNAVAILABLE", cid, strings.TrimPrefix(stalled, "http://"), "it answers nothing")
		})
	}
}

// replacedManifest is an image and a layout that names its manifest and has other
// bytes in its place.
func replacedManifest(h hostile) (good small, cid string) {
	good = h.small([]byte("a layer"))
	lying := good.blobs()
	lying[good.manifestDesc.Digest] = []byte(strings.Replace(string(good.manifest), "schemaVersion", "SchemaVersion", 1))
	return good, h.layout(good.manifestDesc, lying)
}

// gatewayWorker is a host that has nothing but the gateway.
func gatewayWorker(t *testing.T, gateway string) *daemon {
	t.Helper()
	listen, admin := port(t), port(t)
	d := &daemon{repo: tempDir(t), host: "localhost:" + listen, admin: "localhost:" + admin}
	d.process = start(t, "worker", cli(t.Context(), d.repo, "serve", "--offline", "--gateway", gateway,
		"--fetch-timeout", "3s", "--listen", d.host, "--admin", d.admin))
	if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
		t.Fatal(err)
	}
	return d
}

// refuses checks that the workload does not run, that the composer prints the
// status, and that the registry says why.
func refuses(t *testing.T, worker *daemon, compose composer, cid string, dgst digest.Digest, status int, code string, says ...string) {
	t.Helper()
	out, err := compose(t, worker.name(cid)+"@"+dgst.String())
	if err == nil || strings.Contains(out, greeting) {
		t.Errorf("it ran: %v\n%s", err, out)
	}
	if !strings.Contains(strings.ToLower(out), printed(status)) {
		t.Errorf("it prints nothing of %q:\n%s", printed(status), out)
	}
	got := request(t, http.MethodGet, worker.url("%s/manifests/%s", cid, dgst))
	if got.StatusCode != status || got.code() != code {
		t.Errorf("%s %s; want %d %s", got.Status, got.body, status, code)
	}
	for _, text := range says {
		if !strings.Contains(string(got.body), text) {
			t.Errorf("%s says nothing of %q: %s", got.Status, text, got.body)
		}
	}
}

// printed is what of a status the clients print, in small letters.
func printed(status int) string {
	if status == http.StatusNotFound {
		return "not found"
	}
	return strings.ToLower(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// composer runs a Compose file with one service of the image to its end.
type composer func(t *testing.T, image string) (string, error)

func composers(t *testing.T) map[string]composer {
	c, d := containerdEngine(t), dockerEngine(t)
	return map[string]composer{
		"docker-compose": func(t *testing.T, image string) (string, error) {
			file := composeFile(t, image)
			compose := func(args ...string) *exec.Cmd {
				return command(context.Background(), "docker-compose", append([]string{"--host", d.host, "--file", file, "--project-name", "deploy"}, args...)...)
			}
			t.Cleanup(func() {
				must(t, compose("down"))
				d.forget(t, image)
			})
			return combined(compose("up", "--abort-on-container-exit"))
		},
		"nerdctl compose": func(t *testing.T, image string) (string, error) {
			file, namespace := composeFile(t, image), namespaceOf(t)
			compose := func(args ...string) *exec.Cmd {
				return c.nerdctlWithin(context.Background(), namespace, append([]string{"compose", "--project-name", "deploy", "--file", file}, args...)...)
			}
			t.Cleanup(func() { must(t, compose("down")) }) // a container that has ended still has its shim
			return combined(compose("up", "--quiet-pull"))
		},
	}
}

func composeFile(t *testing.T, image string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "docker-compose.yml")
	text := fmt.Sprintf("version: \"3.8\"\nservices:\n  workload:\n    image: %s\n    network_mode: host\n", image)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func combined(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// stalling is the address of a server that accepts and never answers.
func stalling(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
	return l.Addr().String()
}
