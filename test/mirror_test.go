package test

import (
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mirrored is a daemon as the mirror of Docker Hub, and a plain registry in the
// place of the hub. No client can get at the hub itself.
type mirrored struct {
	*daemon
	hub *source
	// pulls are what of the hub's can be pulled, by what is to be shown.
	pulls map[string]string
}

func startMirror(t *testing.T) *mirrored {
	t.Helper()
	images, repo := testImages(t), tempDir(t)
	cid := push(t, repo, images.scratch.spec())
	mapped := push(t, repo, images.multi.spec())
	m := &mirrored{hub: sourceRegistry(t)}
	m.daemon = serve(t, repo, "--offline", "--mirror-names", "docker.io/library/mapped:v1=ipfs://"+mapped+":"+imageTag)
	m.hub.copyIn(t, images.scratch, "library/upstream:v1")
	desc := m.descriptor(t, cid, "latest")
	m.pulls = map[string]string{
		"by digest and kept here": "docker.io/library/nowhere-else@" + desc.Digest.String(),
		"by a tag of the map":     "docker.io/library/mapped:v1",
		"from the next registry":  "docker.io/library/upstream:v1",
	}
	return m
}

// answered reports whether the daemon has answered a question of a kind with a
// status that begins so.
func (m *mirrored) answered(t *testing.T, kind, status string) bool {
	t.Helper()
	for line := range strings.Lines(string(request(t, http.MethodGet, "http://"+m.admin+"/metrics").body)) {
		if strings.HasPrefix(line, "ipfs_registry_requests_total{") && strings.Contains(line, fmt.Sprintf("kind=%q", kind)) &&
			strings.Contains(line, fmt.Sprintf("status=\"%s", status)) {
			return true
		}
	}
	return false
}

// each runs the test for everything that a client pulls through its mirrors, and
// looks whether the daemon was asked. What the next registry has comes last, or
// layers that the images share would come from there.
func (m *mirrored) each(t *testing.T, test func(t *testing.T, image string)) {
	for _, name := range slices.Sorted(maps.Keys(m.pulls)) {
		t.Run(name, func(t *testing.T) { test(t, m.pulls[name]) })
	}
	if !m.answered(t, "blob", "20") {
		t.Error("no blob came from the daemon")
	}
}

func TestMirrorOfContainerd(t *testing.T) {
	m, c, hosts := startMirror(t), containerdEngine(t), t.TempDir()
	port := strings.TrimPrefix(m.host, "localhost:") // each run has a namespace of its own, and pulls
	writeFile(t, filepath.Join(hosts, "docker.io/hosts.toml"), fmt.Appendf(nil, `server = "http://%s"

[host."http://%s"]
  capabilities = ["pull", "resolve"]
`, m.hub.host, m.host))
	m.each(t, func(t *testing.T, image string) {
		expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t)+"-"+port, "--hosts-dir", hosts, "run", "--rm", "--quiet", "--net=host", image)))
	})
	if !m.answered(t, "manifest", "404") {
		t.Error("the daemon was not asked for what it does not have")
	}
}

func TestMirrorOfDocker(t *testing.T) {
	m := startMirror(t)
	cmd, d, err := dockerCommand(filepath.Join(tempDir(t), "d"), "--registry-mirror", "http://"+m.host, "--registry-mirror", "http://"+m.hub.host)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.ready(start(t, "dockerd", cmd)); err != nil {
		t.Fatal(err)
	}
	m.each(t, func(t *testing.T, image string) {
		expectGreeting(t, must(t, d.cmd(t, "run", "--rm", "--net=host", image)))
	})
}

func TestMirrorOfBuildkit(t *testing.T) {
	m := startMirror(t)
	cmd, b, err := buildkitCommand(filepath.Join(tempDir(t), "b"), fmt.Sprintf(`[registry."docker.io"]
  mirrors = ["%[1]s", "%[2]s"]
[registry."%[1]s"]
  http = true
[registry."%[2]s"]
  http = true
`, m.host, m.hub.host))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.ready(start(t, "buildkitd", cmd)); err != nil {
		t.Fatal(err)
	}
	m.each(t, func(t *testing.T, image string) {
		dir, out := buildContext(t, image), filepath.Join(t.TempDir(), "out.tar")
		must(t, command(t.Context(), tool("buildctl"), "--addr", b.address, "build", "--no-cache", "--progress=plain", "--frontend", "dockerfile.v0",
			"--local", "context="+dir, "--local", "dockerfile="+dir, "--output", "type=tar,dest="+out))
		expectGreeting(t, fileInTar(t, out, "built"))
	})
}

// Podman, buildah and skopeo do not say either whose mirror they ask.
func TestMirrorOfPodman(t *testing.T) {
	m, config := startMirror(t), filepath.Join(t.TempDir(), "registries.conf")
	writeFile(t, config, fmt.Appendf(nil, `[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "%s"
insecure = true
[[registry.mirror]]
location = "%s"
insecure = true
`, m.host, m.hub.host))
	m.each(t, func(t *testing.T, image string) {
		cmd := storage(t, "podman")("pull", "--quiet", image)
		cmd.Env = append(cmd.Env, "CONTAINERS_REGISTRIES_CONF="+config)
		must(t, cmd)
	})
}
