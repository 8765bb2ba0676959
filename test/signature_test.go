package test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cosign runs cosign with no service of sigstore, and the password of its keys.
func cosign(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(t.Context(), tool("cosign"), args...)
	cmd.Env = append(cmd.Env, "COSIGN_PASSWORD=secret")
	return cmd
}

func cosignKey(t testing.TB, dir, name string) (private, public string) {
	t.Helper()
	prefix := filepath.Join(dir, name)
	must(t, cosign(t, "generate-key-pair", "--output-key-prefix", prefix))
	return prefix + ".key", prefix + ".pub"
}

func cosignSign(t testing.TB, key, ref string, more ...string) {
	t.Helper()
	args := []string{"sign", "--yes", "--key", key, "--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry", "--allow-insecure-registry"}
	must(t, cosign(t, append(append(args, more...), ref)...))
}

// With policy.key, what cosign signed with that key is served, whichever way the
// signature is attached, and nothing else: not what is unsigned, signed by
// another key, or has a signature that is for another image.
func TestSignaturePolicy(t *testing.T) {
	images, registry := testImages(t), sourceRegistry(t)
	dir := t.TempDir()
	key, public := cosignKey(t, dir, "ours")
	otherKey, _ := cosignKey(t, dir, "other")
	repo := tempDir(t)
	copied := func(name string, l layout) string {
		return strings.Split(registry.copyIn(t, l, "signed/"+name+":v1"), "@")[0]
	}
	at := func(ref string, l layout) string {
		return strings.TrimSuffix(ref, ":v1") + "@" + l.desc.Digest.String()
	}

	bundle, tag, index := copied("bundle", images.scratch), copied("tag", images.scratch), copied("index", images.multi)
	cosignSign(t, key, at(bundle, images.scratch))
	cosignSign(t, key, at(tag, images.scratch), "--new-bundle-format=false")
	cosignSign(t, key, at(index, images.multi))
	forged, unsigned, stolen := copied("forged", images.scratch), copied("unsigned", images.scratch), copied("stolen", images.scratch)
	cosignSign(t, otherKey, at(forged, images.scratch))
	cosignSign(t, otherKey, at(forged, images.scratch), "--new-bundle-format=false")
	// The signature of the one, under the name that the other's would have.
	cosignSign(t, key, at(copied("stolen", images.multi), images.multi), "--new-bundle-format=false")
	signature := func(l layout) string {
		return strings.TrimSuffix(stolen, ":v1") + ":" + strings.Replace(l.desc.Digest.String(), ":", "-", 1) + ".sig"
	}
	must(t, command(t.Context(), tool("crane"), "--insecure", "copy", signature(images.multi), signature(images.scratch)))
	copied("stolen", images.scratch)

	cids := map[string]string{}
	for _, ref := range []string{bundle, tag, index, forged, unsigned, stolen} {
		cids[ref] = push(t, repo, "--insecure", "docker://"+ref)
	}
	d := serve(t, repo, "--policy-key", public)
	for _, ref := range []string{bundle, tag, index} {
		must(t, command(t.Context(), tool("crane"), "validate", "--remote", d.name(cids[ref])))
		must(t, cosign(t, "verify", "--key", public, "--insecure-ignore-tlog", "--allow-http-registry", "--allow-insecure-registry", d.name(cids[ref])+":v1"))
	}
	for _, ref := range []string{forged, unsigned, stolen} {
		for _, path := range []string{"manifests/latest", "manifests/v1", "manifests/" + images.scratch.desc.Digest.String(),
			"blobs/" + images.scratch.manifest(t).Layers[0].Digest.String(), "tags/list"} {
			if a := request(t, "GET", d.url("%s/%s", cids[ref], path)); a.StatusCode != http.StatusForbidden || a.code() != "DENIED" {
				t.Errorf("%s of %s: %s %s", path, ref, a.Status, a.code())
			}
		}
	}
	d.terminate(t)
	if err := os.WriteFile(public, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, _, err := serveCommand(repo, "--policy-key", public)
	if err != nil {
		t.Fatal(err)
	}
	expectFailure(t, start(t, "daemon without a key", cmd), "policy.key")
}
