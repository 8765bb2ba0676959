package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// The image is on one node and containerd pulls it through the other.
func TestTwoNodes(t *testing.T) {
	images, c, docker := testImages(t), containerdEngine(t), dockerEngine(t)
	a := serve(t, tempDir(t))
	for _, format := range []string{"layout", "nerdctl"} {
		t.Run(format, func(t *testing.T) {
			cid := push(t, a.repo, "--format", format, images.real.spec())
			b := serve(t, tempDir(t), "--peer", a.address(t))
			expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t), "run", "--rm", "--quiet", "--net=host", b.name(cid))))
			t.Cleanup(func() { docker.forget(t, b.name(cid)) })
			expectGreeting(t, must(t, docker.cmd(t, "run", "--rm", "--net=host", b.name(cid))))
		})
	}
}

// The same with a swarm key, without which nobody gets in.
func TestPrivateSwarm(t *testing.T) {
	images := testImages(t)
	keyed := func(t *testing.T, key []byte) string {
		repo := tempDir(t)
		if err := os.WriteFile(filepath.Join(repo, "swarm.key"), key, 0o600); err != nil {
			t.Fatal(err)
		}
		return repo
	}
	key := []byte(must(t, cli(t.Context(), tempDir(t), "swarm", "key")))
	a := serve(t, keyed(t, key), "--private")
	cid := push(t, a.repo, images.scratch.spec())
	address := a.address(t)

	b := serve(t, keyed(t, key), "--private", "--peer", address)
	must(t, command(t.Context(), tool("crane"), "validate", "--remote", b.name(cid)))

	cmd, stranger, err := serveCommand(tempDir(t), "--peer", address, "--fetch-timeout", "2s")
	if err != nil {
		t.Fatal(err)
	}
	stranger.process = start(t, "a node without the key", cmd)
	if err := stranger.ready(startLimit, httpOK("http://"+stranger.host+"/v2/")); err != nil {
		t.Fatal(err)
	}
	if got := request(t, "GET", stranger.url("%s/manifests/latest", cid)); got.StatusCode != 504 {
		t.Errorf("a node without the key got %s", got.Status)
	}
	if got := request(t, "GET", "http://"+stranger.admin+"/readyz"); got.StatusCode != 503 || !strings.Contains(string(got.body), "peer") {
		t.Errorf("it is ready: %s %s", got.Status, got.body)
	}
	cmd, _, err = serveCommand(tempDir(t), "--private")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, "private without a key", cmd)
	expectFailure(t, p, "swarm key")
}

// expectFailure waits for a program to end with status 1 and a last line that
// has all of what it should say.
func expectFailure(t testing.TB, p *process, says ...string) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(startLimit):
		t.Fatalf("%s goes on", p.name)
	}
	last := lastLine(p.log.String())
	if p.cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%s ended with %v; want status 1", p.name, p.cmd.ProcessState)
	}
	for _, s := range says {
		if !strings.Contains(last, s) {
			t.Errorf("%s said %q, nothing of %q", p.name, last, s)
		}
	}
}

func TestKuboFetchesFromUs(t *testing.T) {
	images, k := testImages(t), kuboNode(t)
	d := serve(t, tempDir(t), "--peer", k.address())
	cid := push(t, d.repo, images.real.spec())
	for _, l := range images.real.manifest(t).Layers {
		out := must(t, k.ipfs(t, "cat", "/ipfs/"+cid+"/blobs/sha256/"+l.Digest.Encoded()))
		if got := digest.FromString(out); got != l.Digest {
			t.Errorf("Kubo read %s; want %s", got, l.Digest)
		}
	}
}

func TestWeFetchFromKubo(t *testing.T) {
	images, c, k := testImages(t), containerdEngine(t), kuboNode(t)
	ref := sourceRegistry(t).copyIn(t, images.real, "kubo/real:v1")
	must(t, c.nerdctl(t, namespaceOf(t), "pull", "--quiet", ref))
	d := serve(t, tempDir(t), "--peer", k.address())
	for name, cid := range map[string]string{
		"layout":  lastLine(must(t, k.ipfs(t, "add", "-r", "-Q", "--cid-version=1", images.real.dir))),
		"nerdctl": lastLine(must(t, c.nerdctl(t, namespaceOf(t), "push", "--ipfs-address", k.api, "ipfs://"+ref))),
	} {
		t.Run(name, func(t *testing.T) {
			expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t), "run", "--rm", "--quiet", "--net=host", d.name(cid))))
		})
	}
}

// In front of somebody's Kubo there is no node of ours.
func TestAttachedToKubo(t *testing.T) {
	images, c, k := testImages(t), containerdEngine(t), kuboNode(t)
	repo := tempDir(t)
	for _, format := range []string{"layout", "nerdctl"} {
		t.Run(format, func(t *testing.T) {
			cid := push(t, repo, "--ipfs-address", k.api, "--format", format, images.scratch.spec())
			if out := must(t, k.ipfs(t, "pin", "ls", "--type=recursive")); !strings.Contains(out, cid) {
				t.Errorf("Kubo has not pinned %s: %s", cid, out)
			}
			d := serve(t, repo, "--ipfs-address", k.api)
			expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t), "run", "--rm", "--quiet", "--net=host", d.name(cid))))
			d.terminate(t)
		})
	}
}

// The same image gets the CID from us that nerdctl and Kubo give it.
func TestSameCIDAsNerdctl(t *testing.T) {
	images, c, k := testImages(t), containerdEngine(t), kuboNode(t)
	repo := tempDir(t)
	for name, l := range map[string]layout{"real": images.real, "scratch": images.scratch} {
		t.Run(name, func(t *testing.T) {
			namespace := namespaceOf(t)
			ref := sourceRegistry(t).copyIn(t, l, "same/"+name+":v1")
			must(t, c.nerdctl(t, namespace, "pull", "--quiet", ref))
			theirs := lastLine(must(t, c.nerdctl(t, namespace, "push", "--ipfs-address", k.api, "ipfs://"+ref)))
			ours := push(t, repo, "--format", "nerdctl", "--chunker", "kubo-legacy", "--containerd-address", c.address, "--namespace", namespace, "containerd:"+ref)
			if ours != theirs {
				t.Errorf("ours is %s, nerdctl's is %s", ours, theirs)
			}
		})
	}
}
