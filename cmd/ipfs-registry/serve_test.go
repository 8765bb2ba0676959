package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// limit bounds what a test waits for.
const limit = 30 * time.Second

// serving is a daemon in this process.
type serving struct {
	repo            string
	registry, admin string
	stop            context.CancelFunc
	status          chan int
}

// startServe runs serve with a node of its own, apart from every network.
func startServe(t *testing.T, repo string, args ...string) *serving {
	t.Helper()
	return startWith(t, repo, append(args, "--bootstrap", "none", "--swarm-listen", "/ip4/127.0.0.1/tcp/0")...)
}

// startAttached runs serve with the node at address.
func startAttached(t *testing.T, repo, address string) *serving {
	t.Helper()
	return startWith(t, repo, "--ipfs-address", address)
}

// startWith runs serve on free ports and returns when it serves.
func startWith(t *testing.T, repo string, args ...string) *serving {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &serving{repo: repo, stop: stop, status: make(chan int, 1)}
	logs, w := io.Pipe()
	args = append([]string{"serve", "--repo", repo, "--log-format", "json",
		"--listen", "localhost:0", "--admin", "127.0.0.1:0"}, args...)
	go func() {
		s.status <- run(ctx, args, environment(), io.Discard, w)
		_ = w.Close()
	}()
	t.Cleanup(func() { s.end(t) })
	found := make(chan bool, 1)
	go s.read(logs, found)
	select {
	case ok := <-found:
		if !ok {
			t.Fatal("serve ended early")
		}
	case <-time.After(limit):
		t.Fatal("serve does not serve")
	}
	return s
}

// read takes the addresses from the log, and reads it to its end.
func (s *serving) read(logs io.Reader, found chan<- bool) {
	defer close(found)
	lines := bufio.NewScanner(logs)
	for lines.Scan() {
		var line struct {
			Msg             string
			Registry, Admin []string
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			s.registry, s.admin = line.Registry[0], line.Admin[0]
			found <- true
		}
	}
}

// end stops the daemon, if it still runs, and returns its exit status.
func (s *serving) end(t *testing.T) int {
	t.Helper()
	s.stop()
	select {
	case status := <-s.status:
		s.status <- status
		return status
	case <-time.After(limit):
		t.Error("serve does not stop")
		return -1
	}
}

func environment() []string { return []string{"HOME=" + os.TempDir()} }

// verb runs a verb in the repository and returns what it printed.
func verb(t *testing.T, repo string, args ...string) (status int, out, stderr string) {
	t.Helper()
	var o, e bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	status = run(ctx, append(args, "--repo", repo), environment(), &o, &e)
	return status, o.String(), e.String()
}

// pushImage pushes an image with the layer and returns its CID.
func pushImage(t *testing.T, repo string, layer []byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	if err := writeLayout(dir, layer); err != nil {
		t.Fatal(err)
	}
	status, out, stderr := verb(t, repo, "push", "oci:"+dir)
	if status != done {
		t.Fatalf("push: status %d, %s", status, stderr)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	status, body, err := get(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

func TestServeSession(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "repo")
	s := startServe(t, repo)
	for page, want := range map[string]string{"/livez": "ok", "/readyz": "ok"} {
		if status, body := fetch(t, "http://"+s.admin+page); status != http.StatusOK || body != want {
			t.Errorf("%s: %d %q", page, status, body)
		}
	}
	root := pushImage(t, repo, []byte("a layer"))
	status, body := fetch(t, "http://"+s.registry+"/v2/ipfs/"+root+"/manifests/latest")
	if status != http.StatusOK || !strings.Contains(body, "vnd.oci.image.manifest.v1+json") {
		t.Errorf("manifest: %d %s", status, body)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"resolve", root}, "linux/amd64"},
		{[]string{"resolve", "localhost:5050/ipfs/" + root + ":latest", "--json"}, `"root": "` + root + `"`},
		{[]string{"id"}, "/p2p/12D3KooW"},
		{[]string{"doctor", "--listen", s.registry, "--admin", s.admin}, "a daemon runs in"},
		{[]string{"swarm", "peers", "--json"}, "[]"},
		{[]string{"pull", root, "oci:" + filepath.Join(t.TempDir(), "out")}, "sha256:"},
	} {
		if status, out, stderr := verb(t, repo, c.args...); status != done || !strings.Contains(out, c.want) {
			t.Errorf("%q: status %d\n%s%s", c.args, status, out, stderr)
		}
	}
	if status := s.end(t); status != done {
		t.Errorf("serve: status %d", status)
	}
	if exists(filepath.Join(repo, "control.sock")) {
		t.Error("the control socket outlives the daemon")
	}
	if status, out, stderr := verb(t, repo, "resolve", root, "--offline"); status != done || !strings.Contains(out, root) {
		t.Errorf("resolve without the daemon: status %d\n%s%s", status, out, stderr)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "repo")
	s := startServe(t, repo, "--offline")
	for _, address := range []string{"localhost:0", s.registry} {
		status, _, stderr := verb(t, repo, "serve", "--offline", "--listen", address, "--admin", "none")
		last := stderr[strings.LastIndex(strings.TrimSpace(stderr), "\n")+1:]
		if status != failed || !strings.HasPrefix(last, "error: ") || !strings.Contains(last, repo) {
			t.Errorf("--listen %s: status %d, last line %q", address, status, last)
		}
	}
}

func TestTwoNodesPassAnImageOn(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	a := startServe(t, one)
	b := startServe(t, two)
	root := pushImage(t, one, []byte("from one to the other"))
	_, id, _ := verb(t, one, "id")
	address := strings.Split(strings.TrimSpace(id), "\n")[1]
	if status, _, stderr := verb(t, two, "swarm", "connect", address); status != done {
		t.Fatalf("connect: %s", stderr)
	}
	if _, peers, _ := verb(t, two, "swarm", "peers"); !strings.Contains(peers, "/p2p/12D3KooW") {
		t.Errorf("peers: %q", peers)
	}
	for _, s := range []*serving{a, b} {
		if status, body := fetch(t, "http://"+s.registry+"/v2/ipfs/"+root+"/manifests/latest"); status != http.StatusOK {
			t.Errorf("%s: %d %s", s.repo, status, body)
		}
	}
}

// A daemon in front of another node keeps nothing itself.
func TestServeFromAnotherNode(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	startServe(t, one, "--offline")
	root := pushImage(t, one, []byte("elsewhere"))
	s := startAttached(t, two, "/unix/"+strings.TrimPrefix(filepath.Join(one, "control.sock"), "/"))
	if status, body := fetch(t, "http://"+s.registry+"/v2/ipfs/"+root+"/manifests/latest"); status != http.StatusOK {
		t.Errorf("manifest: %d %s", status, body)
	}
	if status := s.end(t); status != done {
		t.Errorf("serve: status %d", status)
	}
	if exists(two) {
		t.Error("a repository was made that nobody uses")
	}
}

// With --api, the file of that name leads other programs to the calls that they
// make, and to no others.
func TestServeAPI(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "repo")
	s := startServe(t, repo, "--offline", "--api", "localhost:0")
	file, err := os.ReadFile(filepath.Join(repo, "api"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(file), "/") // /ip4/127.0.0.1/tcp/PORT
	address := "http://" + net.JoinHostPort(parts[2], parts[4])
	for call, want := range map[string]int{"add": http.StatusBadRequest, "shutdown": http.StatusForbidden, "id": http.StatusForbidden} {
		resp, err := http.Post(address+"/api/v0/"+call, "application/octet-stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", call, resp.StatusCode, want)
		}
	}
	s.end(t)
	if exists(filepath.Join(repo, "api")) {
		t.Error("the file api outlives the daemon")
	}
}

func TestMetrics(t *testing.T) {
	s := startServe(t, filepath.Join(t.TempDir(), "repo"), "--offline")
	fetch(t, "http://"+s.registry+"/v2/")
	resp, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ipfs_registry_requests_in_flight", "ipfs_registry_blockstore_bytes", "process_resident_memory_bytes", "go_goroutines"} {
		if !strings.Contains(string(page), "\n"+want) {
			t.Errorf("no %s", want)
		}
	}
}

// A pull that has begun ends well although the daemon is told to stop.
func TestDrainLetsAPullEnd(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "repo")
	s := startServe(t, repo, "--offline")
	layer := bytes.Repeat([]byte("0123456789abcdef"), 4<<20) // 64 MiB: more than sockets hold
	root := pushImage(t, repo, layer)
	blob := layerURL(t, s, root)
	resp, err := http.Get(blob)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	waitRefused(t, s.registry)
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != int64(len(layer))-1 {
		t.Errorf("read %d bytes of %d: %v", n+1, len(layer), err)
	}
	if status := s.end(t); status != done {
		t.Errorf("serve: status %d", status)
	}
}

func layerURL(t *testing.T, s *serving, root string) string {
	t.Helper()
	_, body := fetch(t, "http://"+s.registry+"/v2/ipfs/"+root+"/manifests/latest")
	var manifest struct{ Layers []struct{ Digest string } }
	if err := json.Unmarshal([]byte(body), &manifest); err != nil || len(manifest.Layers) != 1 {
		t.Fatalf("manifest %s: %v", body, err)
	}
	return "http://" + s.registry + "/v2/ipfs/" + root + "/blobs/" + manifest.Layers[0].Digest
}

// waitRefused returns when nobody accepts connections at the address any more.
func waitRefused(t *testing.T, address string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		_ = c.Close()
	}
	t.Error("connections are still accepted")
}
