package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The Dockerfile makes an image whose container serves, as nobody in
// particular.
func TestDockerfile(t *testing.T) {
	images, d := testImages(t), dockerEngine(t)
	const image = "ipfs-registry:test"
	must(t, d.cmd(t, "build", "--tag", image, builtTree(t, "Dockerfile", ".dockerignore")))
	t.Cleanup(func() { d.forget(t, image) })

	repo := tempDir(t)
	cid := push(t, repo, images.scratch.spec())
	must(t, exec.Command("chown", "-R", "65532:65532", repo))
	listen, admin := port(t), port(t)
	container := lastLine(must(t, d.cmd(t, "run", "--detach", "--net=host", "--volume", repo+":/data", "--read-only", "--cap-drop=ALL",
		image, "serve", "--bootstrap", "none", "--swarm-listen", "/ip4/127.0.0.1/tcp/0", "--listen", "localhost:"+listen, "--admin", "localhost:"+admin)))
	t.Cleanup(func() { must(t, exec.Command("/usr/bin/docker", "--host", d.host, "rm", "--force", container)) })
	eventually(t, startLimit, "the container is ready", httpReady("localhost:"+admin))
	expectGreeting(t, must(t, d.cmd(t, "run", "--rm", "--net=host", "localhost:"+listen+"/ipfs/"+cid)))
	must(t, d.cmd(t, "stop", "--time", "15", container))
	if got := lastLine(must(t, d.cmd(t, "inspect", "--format", "{{.State.ExitCode}}", container))); got != "0" {
		t.Errorf("docker stop: exit status %s", got)
	}
}

// builtTree is what a build needs of the tree after "make build".
func builtTree(t *testing.T, files ...string) string {
	t.Helper()
	tree := tempDir(t)
	if err := os.MkdirAll(filepath.Join(tree, "bin/data"), 0o755); err != nil {
		t.Fatal(err)
	}
	from := map[string]string{"bin/ipfs-registry": shared.program}
	for _, name := range files {
		from[name] = filepath.Join("..", name)
	}
	for to, from := range from {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, to), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// "make run" is all it takes, and what it prints to type works.
func TestMakeRun(t *testing.T) {
	d := dockerEngine(t)
	listen, admin := "localhost:"+port(t), "localhost:"+port(t)
	cmd := exec.Command("make", "run", "RUN="+tempDir(t), "LISTEN="+listen, "ADMIN="+admin)
	cmd.Dir = ".."
	p := start(t, "make run", cmd)
	if err := p.ready(5*time.Minute, httpReady(admin)); err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(p.log.String(), "docker run --rm ")
	if !found {
		t.Fatalf("make run says nothing of docker run: %s", p.log)
	}
	name, _, _ := strings.Cut(rest, "\n")
	if out := must(t, d.cmd(t, "run", "--rm", "--net=none", name)); strings.TrimSpace(out) == "" {
		t.Error("the sample image prints nothing")
	}
	d.forget(t, name)
}

// systemd takes the unit, and finds little to say about its exposure.
func TestSystemdUnit(t *testing.T) {
	endToEnd(t)
	dir := t.TempDir()
	for _, name := range []string{"ipfs-registry.service", "ipfs-registry.socket"} {
		data, err := os.ReadFile(filepath.Join("../docs/systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		installed := strings.ReplaceAll(string(data), "/usr/local/bin/ipfs-registry", shared.program)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(installed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	service := filepath.Join(dir, "ipfs-registry.service")
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", service, filepath.Join(dir, "ipfs-registry.socket")).CombinedOutput()
	if err != nil || strings.Contains(string(out), "ipfs-registry") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err = exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=30", service).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// systemd's protocol: the sockets come from outside, and the daemon says when
// it serves. systemd-socket-activate stands for systemd here.
func TestSocketActivation(t *testing.T) {
	endToEnd(t)
	listen, admin := "127.0.0.1:"+port(t), "localhost:"+port(t)
	cmd := command(t.Context(), "systemd-socket-activate", "--listen="+listen, "--fdname=registry", "--setenv=HOME="+filepath.Join(shared.dir, "home"),
		shared.program, "--repo", tempDir(t), "serve", "--bootstrap", "none", "--swarm-listen", "/ip4/127.0.0.1/tcp/0", "--admin", admin)
	start(t, "systemd-socket-activate", cmd)
	// The first connection starts the daemon, and is answered by it.
	eventually(t, startLimit, "the daemon answers on the socket it was given", httpOK("http://"+listen+"/v2/"))
	eventually(t, startLimit, "the daemon is ready", httpReady(admin))
}
