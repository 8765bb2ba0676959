package test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// rpcDaemon is a daemon with --api, and nerdctl told of it as it is of Kubo.
func rpcDaemon(t *testing.T, c *containerd) (d *daemon, api string, nerdctl func(namespace string, args ...string) *exec.Cmd) {
	t.Helper()
	api = "127.0.0.1:" + port(t)
	d = serve(t, tempDir(t), "--api", api)
	return d, api, func(namespace string, args ...string) *exec.Cmd {
		cmd := c.nerdctl(t, namespace, args...)
		cmd.Env = append(cmd.Env, "IPFS_PATH="+d.repo)
		return cmd
	}
}

func TestNerdctlOnIPFS(t *testing.T) {
	images, c := testImages(t), containerdEngine(t)
	d, _, nerdctl := rpcDaemon(t, c)
	ref := sourceRegistry(t).copyIn(t, images.real, "api/real:v1")
	from := namespaceOf(t) + "-from"
	must(t, nerdctl(from, "pull", "--quiet", ref))
	cid := lastLine(must(t, nerdctl(from, "push", "ipfs://"+ref)))

	t.Run("run", func(t *testing.T) {
		namespace := namespaceOf(t)
		must(t, nerdctl(namespace, "pull", "--quiet", "ipfs://"+cid))
		expectGreeting(t, must(t, nerdctl(namespace, "run", "--rm", "--net=host", "ipfs://"+cid)))
	})
	t.Run("registry", func(t *testing.T) {
		expectGreeting(t, must(t, nerdctl(namespaceOf(t), "run", "--rm", "--quiet", "--net=host", d.name(cid))))
	})
	t.Run("compose", func(t *testing.T) {
		namespace, file := namespaceOf(t), filepath.Join(t.TempDir(), "compose.yaml")
		service := "services:\n  greeter:\n    image: ipfs://" + cid + "\n    network_mode: host\n"
		if err := os.WriteFile(file, []byte(service), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := nerdctl(namespace, "compose", "--project-name", "greetings", "--file", file, "up", "--quiet-pull").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		expectGreeting(t, string(out))
		must(t, nerdctl(namespace, "compose", "--project-name", "greetings", "--file", file, "down"))
	})
}

// An image encrypted for one key travels as any other, and is decrypted where
// the key is.
func TestEncryptedImageOnIPFS(t *testing.T) {
	images, c := testImages(t), containerdEngine(t)
	_, _, nerdctl := rpcDaemon(t, c)
	dir := t.TempDir()
	private, public := filepath.Join(dir, "key.pem"), filepath.Join(dir, "pub.pem")
	must(t, command(t.Context(), "openssl", "genrsa", "-out", private, "2048"))
	must(t, command(t.Context(), "openssl", "rsa", "-in", private, "-pubout", "-out", public))

	ref := sourceRegistry(t).copyIn(t, images.scratch, "api/secret:v1")
	from, to := namespaceOf(t)+"-from", namespaceOf(t)+"-to"
	must(t, nerdctl(from, "pull", "--quiet", ref))
	must(t, nerdctl(from, "image", "encrypt", "--recipient=jwe:"+public, ref, "secret:v1"))
	cid := lastLine(must(t, nerdctl(from, "push", "ipfs://secret:v1")))

	must(t, nerdctl(to, "pull", "--quiet", "--unpack=false", "ipfs://"+cid))
	must(t, nerdctl(to, "image", "decrypt", "--key="+private, "ipfs://"+cid, "plain:v1"))
	expectGreeting(t, must(t, nerdctl(to, "run", "--rm", "--net=host", "--pull=never", "plain:v1")))
}

// What those tools do not call is not there.
func TestOtherCallsAreRefused(t *testing.T) {
	d, api, _ := rpcDaemon(t, nil)
	file, err := os.ReadFile(filepath.Join(d.repo, "api"))
	if err != nil || !strings.Contains(string(file), "/tcp/"+api[strings.LastIndex(api, ":")+1:]) {
		t.Errorf("the API file says %q (%v); the API is at %s", file, err, api)
	}
	for _, call := range []string{
		"id", "version", "repo/gc", "repo/stat", "pin/ls", "pin/rm?arg=bafkqaaa", "key/list", "config/show", "shutdown", "swarm/peers", "block/put",
		"dag/import", "files/ls", "files/rm?arg=/x", "refs/local", "name/publish?arg=bafkqaaa", "log/tail", "commands", "get?arg=/ipfs/bafkqaaa",
		"cat?arg=/ipns/localhost", "cat?arg=/etc/passwd", "files/stat?arg=/", "add?nocopy=true", "add?to-files=/x", "add?only-hash=true",
	} {
		if got := request(t, http.MethodPost, "http://"+api+"/api/v0/"+call); got.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s %.100s", call, got.Status, got.body)
		}
	}
	if got := request(t, http.MethodPost, "http://"+api+"/api/v0/cat?arg=/ipfs/bafkqaaa"); got.StatusCode != http.StatusOK {
		t.Errorf("cat: %s %s", got.Status, got.body)
	}
	if got := request(t, http.MethodPost, "http://"+api+"/api/v0/cat?arg=/ipfs/bafkqaaa", "Origin", "http://example.test"); got.StatusCode != http.StatusForbidden {
		t.Errorf("cat from a browser: %s", got.Status)
	}
	d.terminate(t)
	if _, err := os.Stat(filepath.Join(d.repo, "api")); !os.IsNotExist(err) {
		t.Errorf("the API file outlives the daemon: %v", err)
	}
}
