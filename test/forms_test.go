package test

import (
	"encoding/base32"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Every form that an image on IPFS has, made as its own tool makes it and kept
// by a stock Kubo, is pulled by Docker, containerd and skopeo through one name.
func TestEveryForm(t *testing.T) {
	k, c, d := kuboNode(t), containerdEngine(t), dockerEngine(t)
	worker := serve(t, tempDir(t), "--peer", k.address())
	for form, name := range formNames(t, k) {
		t.Run(form, func(t *testing.T) {
			image := worker.host + name
			expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t), "run", "--rm", "--quiet", "--net=host", image)))
			t.Cleanup(func() { d.forget(t, image) })
			expectGreeting(t, must(t, d.cmd(t, "run", "--rm", "--net=host", image)))
			must(t, command(t.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "docker://"+image, "dir:"+t.TempDir()))
		})
	}
}

// formNames puts the scratch image into IPFS in each form and returns what
// follows the host in its names.
func formNames(t testing.TB, k *kubo) map[string]string {
	l, dir := testImages(t).scratch, t.TempDir()
	skopeo := func(dest string) {
		t.Helper()
		must(t, command(t.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", l.spec(), dest))
	}
	add := func(name string) string {
		t.Helper()
		return lastLine(must(t, k.ipfs(t, "add", "-r", "-Q", "--cid-version=1", filepath.Join(dir, name))))
	}
	skopeo("oci-archive:" + dir + "/oci.tar:" + imageTag)
	skopeo("docker-archive:" + dir + "/docker.tar:example/app:v1")
	writeStatic(t, l, filepath.Join(dir, "static/v2/example/app"), "v1")
	writeStatic(t, l, filepath.Join(dir, "ipdr"), "latest")
	descriptor := push(t, tempDir(t), "--ipfs-address", k.api, "--format", "nerdctl", l.spec())
	published := push(t, tempDir(t), "--ipfs-address", k.api, "--format", "static", "--name", "example/app:v1", l.spec())
	return map[string]string{
		"OCI image layout":     "/ipfs/" + lastLine(must(t, k.ipfs(t, "add", "-r", "-Q", "--cid-version=1", l.dir))),
		"oci-archive":          "/ipfs/" + add("oci.tar"),
		"docker save archive":  "/ipfs/" + add("docker.tar"),
		"static registry":      "/ipfs/" + add("static") + "/example/app:v1",
		"our static registry":  "/ipfs/" + published + "/example/app:v1",
		"static as a layout":   "/ipfs/" + published,
		"IPDR":                 "/ipfs/" + add("ipdr"),
		"IPDR by its own name": "/" + ipdrName(t, lastLine(must(t, k.ipfs(t, "add", "-r", "-Q", filepath.Join(dir, "ipdr"))))),
		"nerdctl descriptor":   "/ipfs/" + descriptor,
		"bare manifest":        "/ipfs/" + bareManifest(t, k, descriptor),
	}
}

// writeStatic lays an image out as ipfs-container-registry and IPDR do:
// manifests/<tag> and <digest>, blobs/<digest>, tags/list.
func writeStatic(t testing.TB, l layout, dir, tag string) {
	t.Helper()
	m := l.manifest(t)
	files := map[string]string{"manifests/" + tag: l.blob(l.desc.Digest), "manifests/" + l.desc.Digest.String(): l.blob(l.desc.Digest)}
	for _, desc := range append(m.Layers, m.Config) {
		files["blobs/"+desc.Digest.String()] = l.blob(desc.Digest)
	}
	for name, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, name), data)
	}
	writeFile(t, filepath.Join(dir, "tags/list"), []byte(`{"name":"example/app","tags":["`+tag+`"]}`))
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ipdrName is what IPDR prints: the hash of a CIDv0 in base32, without the
// letter that says so.
func ipdrName(t testing.TB, cidV0 string) string {
	t.Helper()
	c, err := cid.Decode(cidV0)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(c.Hash()))
}

// bareManifest is the CID of the manifest that a descriptor leads to.
func bareManifest(t testing.TB, k *kubo, descriptor string) string {
	t.Helper()
	var desc ocispec.Descriptor
	out := must(t, k.ipfs(t, "cat", "/ipfs/"+descriptor))
	if err := json.Unmarshal([]byte(out), &desc); err != nil || len(desc.URLs) == 0 {
		t.Fatalf("%s: %v", out, err)
	}
	return strings.TrimPrefix(desc.URLs[0], "ipfs://")
}

// A single layer is copied into an image by both builders.
func TestCopyFromALayer(t *testing.T) {
	d := dockerEngine(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "in/greeting"), []byte(greeting))
	must(t, command(t.Context(), "tar", "-C", filepath.Join(dir, "in"), "-czf", filepath.Join(dir, "foo.tar.gz"), "greeting"))
	worker := serve(t, tempDir(t))
	cid := push(t, worker.repo, "--layer", filepath.Join(dir, "foo.tar.gz"))
	base := worker.name(push(t, worker.repo, testImages(t).real.spec()))
	for builder, env := range map[string]string{"classic": "DOCKER_BUILDKIT=0", "buildkit": "DOCKER_BUILDKIT=1"} {
		t.Run(builder, func(t *testing.T) {
			built, layer := "layer/"+namespaceOf(t), worker.host+"/layer/"+cid+":foo.tar.gz"
			context := t.TempDir()
			writeFile(t, filepath.Join(context, "Dockerfile"), []byte("FROM "+base+"\nCOPY --from="+layer+" / /\n"))
			build := d.cmd(t, "build", "--network=host", "--no-cache", "--tag", built, context)
			build.Env = append(build.Env, env)
			must(t, build)
			t.Cleanup(func() { d.forget(t, built) })
			expectGreeting(t, must(t, d.cmd(t, "run", "--rm", "--net=host", "--entrypoint=/bin/cat", built, "/greeting")))
		})
	}
}
