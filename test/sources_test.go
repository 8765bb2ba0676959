package test

import (
	"path/filepath"
	"strings"
	"testing"
)

// From wherever an image comes, what is served is that image, and a push that
// is repeated gives the same CID.
func TestPushSources(t *testing.T) {
	images, c, d, registry := testImages(t), containerdEngine(t), dockerEngine(t), sourceRegistry(t)
	daemon := serve(t, tempDir(t))
	namespace := namespaceOf(t)
	ref := registry.copyIn(t, images.real, "sources/real:v1")
	must(t, c.nerdctl(t, namespace, "pull", "--quiet", ref))
	must(t, d.cmd(t, "pull", "--quiet", ref))
	t.Cleanup(func() { d.forget(t, ref) })
	dir := t.TempDir()
	archive, saved := filepath.Join(dir, "oci.tar"), filepath.Join(dir, "saved.tar")
	must(t, command(t.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", images.real.spec(), "oci-archive:"+archive+":"+imageTag))
	must(t, d.cmd(t, "save", "--output", saved, ref))

	for _, tc := range []struct {
		name   string
		push   []string
		digest bool // the digest stays: the source has the manifest
	}{
		{"oci", []string{images.real.spec()}, true},
		{"oci-archive", []string{"oci-archive:" + archive}, true},
		{"docker", []string{"--insecure", "docker://" + ref}, true},
		{"docker-archive", []string{"docker-archive:" + saved}, false},
		{"docker-daemon", []string{"--docker-host", d.host, "docker-daemon:" + ref}, false},
		{"containerd", []string{"--containerd-address", c.address, "--namespace", namespace, "containerd:" + ref}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cid := push(t, daemon.repo, tc.push...)
			if again := push(t, daemon.repo, tc.push...); again != cid {
				t.Errorf("the push gave %s, and repeated %s", cid, again)
			}
			if got := daemon.descriptor(t, cid, "latest").Digest; (got == images.real.desc.Digest) != tc.digest {
				t.Errorf("served with the digest %s; the source had %s", got, images.real.desc.Digest)
			}
			expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t), "run", "--rm", "--quiet", "--net=host", daemon.name(cid))))
		})
	}
}

// What push puts in, pull takes out, with and without a daemon.
func TestPullDestinations(t *testing.T) {
	images, c, d, registry := testImages(t), containerdEngine(t), dockerEngine(t), sourceRegistry(t)
	repo := tempDir(t)
	cid := push(t, repo, images.scratch.spec())
	dir, namespace := t.TempDir(), namespaceOf(t)
	pull := func(t *testing.T, args ...string) {
		t.Helper()
		if got := lastLine(must(t, cli(t.Context(), repo, append([]string{"pull", "--bootstrap", "none"}, args...)...))); !strings.Contains(got, "sha256:") {
			t.Errorf("pull printed %q, no digest", got)
		}
	}
	all := func(t *testing.T) {
		t.Run("oci", func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "layout")
			pull(t, "ipfs://"+cid, "oci:"+to+":"+imageTag)
			if desc, err := rootOf(to); err != nil || desc.Digest != images.scratch.desc.Digest {
				t.Errorf("pulled %s (%v); want %s", desc.Digest, err, images.scratch.desc.Digest)
			}
		})
		t.Run("oci-archive", func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "image.tar")
			pull(t, "ipfs://"+cid, "oci-archive:"+to)
			must(t, command(t.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", "oci-archive:"+to, "dir:"+filepath.Join(dir, "copied")))
		})
		t.Run("docker-archive", func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "image.tar")
			pull(t, "ipfs://"+cid, "docker-archive:"+to+":pulled/docker:v1")
			must(t, d.cmd(t, "load", "--input", to))
			expectGreeting(t, must(t, d.cmd(t, "run", "--rm", "--net=host", "pulled/docker:v1")))
			d.forget(t, "pulled/docker:v1")
		})
		t.Run("containerd", func(t *testing.T) {
			pull(t, "--containerd-address", c.address, "--namespace", namespace, cid, "containerd:example.test/pulled:v1")
			expectGreeting(t, must(t, c.nerdctl(t, namespace, "run", "--rm", "--net=host", "--pull=never", "example.test/pulled:v1")))
		})
		t.Run("docker", func(t *testing.T) {
			to := registry.host + "/pulled/scratch:v1"
			pull(t, "--insecure", "/ipfs/"+cid, "docker://"+to)
			if got := lastLine(must(t, command(t.Context(), tool("crane"), "digest", to))); got != images.scratch.desc.Digest.String() {
				t.Errorf("the registry has %s; want %s", got, images.scratch.desc.Digest)
			}
		})
	}
	t.Run("alone", all)
	serve(t, repo)
	t.Run("beside the daemon", all)
}
