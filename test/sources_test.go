package test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pushSource is a place from which an image is pushed.
type pushSource struct {
	name   string
	push   []string
	digest bool // the digest stays: the source has the manifest
}

// pushSources puts an image wherever push can take it from.
func pushSources(t *testing.T, l layout, as string) []pushSource {
	t.Helper()
	c, d, namespace := containerdEngine(t), dockerEngine(t), namespaceOf(t)
	ref := sourceRegistry(t).copyIn(t, l, as)
	must(t, c.nerdctl(t, namespace, "pull", "--quiet", ref))
	must(t, d.cmd(t, "pull", "--quiet", ref))
	t.Cleanup(func() { d.forget(t, ref) })
	dir := t.TempDir()
	archive, saved := filepath.Join(dir, "oci.tar"), filepath.Join(dir, "saved.tar")
	must(t, command(t.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", l.spec(), "oci-archive:"+archive+":"+imageTag))
	must(t, d.cmd(t, "save", "--output", saved, ref))
	return []pushSource{
		{"oci", []string{l.spec()}, true},
		{"oci-archive", []string{"oci-archive:" + archive}, true},
		{"docker", []string{"--insecure", "docker://" + ref}, true},
		{"docker-archive", []string{"docker-archive:" + saved}, false},
		{"docker-daemon", []string{"--docker-host", d.host, "docker-daemon:" + ref}, false},
		{"containerd", []string{"--containerd-address", c.address, "--namespace", namespace, "containerd:" + ref}, true},
	}
}

// From wherever an image comes, what is served is that image, and a push that
// is repeated gives the same CID.
func TestPushSources(t *testing.T) {
	images, c, daemon := testImages(t), containerdEngine(t), serve(t, tempDir(t))
	for _, tc := range pushSources(t, images.real, "sources/real:v1") {
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

// From wherever an image comes, its layers are converted to what is read lazily,
// and mounted as such.
func TestPushSourcesLazily(t *testing.T) {
	images, c, daemon := testImages(t), containerdEngine(t), serve(t, tempDir(t))
	for _, tc := range pushSources(t, images.scratch, "sources/scratch:v1") {
		for _, format := range []string{"estargz", "zstd-chunked"} {
			t.Run(tc.name+"_"+format, func(t *testing.T) {
				args := append([]string{"--" + format}, tc.push...)
				cid, namespace := push(t, daemon.repo, args...), namespaceOf(t)
				if again := push(t, daemon.repo, args...); again != cid {
					t.Errorf("the push gave %s, and repeated %s", cid, again)
				}
				run := c.nerdctl(t, namespace, "--snapshotter=stargz", "run", "--rm", "--quiet", "--net=host", daemon.name(cid))
				expectGreeting(t, must(t, run))
				c.mountsLazily(t, namespace, len(images.scratch.manifest(t).Layers))
			})
		}
	}
}

// What an image was before its layers were converted, resolve says.
func TestResolveSaysWhatWasConverted(t *testing.T) {
	repo, l := tempDir(t), testImages(t).scratch
	for _, format := range []string{"--estargz", "--zstd-chunked"} {
		cid := push(t, repo, format, l.spec())
		for _, how := range [][]string{{}, {"--json"}} {
			out := must(t, cli(t.Context(), repo, append([]string{"resolve", "--offline", cid}, how...)...))
			if !regexp.MustCompile(`(?m)^ *"?converted ?[fF]rom"?:? +"?` + l.desc.Digest.String()).MatchString(out) {
				t.Errorf("%s: resolve says %s; want it converted from %s", format, out, l.desc.Digest)
			}
		}
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
