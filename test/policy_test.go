package test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// policed is an image that policy admits, another that it does not, and a host
// that has both.
type policed struct {
	admitted, other string // CIDs
	images          map[string]layout
	origin          *daemon
	public          string // the key that the one admitted is signed by
}

func newPoliced(t *testing.T) *policed {
	t.Helper()
	images, registry, dir := testImages(t), sourceRegistry(t), t.TempDir()
	key, public := cosignKey(t, dir, "policy")
	ref := strings.Split(registry.copyIn(t, images.scratch, "policed/signed:v1"), "@")[0]
	cosignSign(t, key, strings.TrimSuffix(ref, ":v1")+"@"+images.scratch.desc.Digest.String())
	p := &policed{origin: serve(t, tempDir(t)), public: public}
	p.admitted, p.other = push(t, p.origin.repo, "--insecure", "docker://"+ref), push(t, p.origin.repo, images.multi.spec())
	p.images = map[string]layout{p.admitted: images.scratch, p.other: images.multi}
	return p
}

// flags are those of each policy that admits the one image, which with "pinned"
// has to be kept for it.
func (p *policed) flags(t *testing.T) map[string][]string {
	t.Helper()
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte(p.admitted), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string][]string{
		"list":      {"--policy-serve", "list", "--policy-list", list},
		"pinned":    {"--policy-serve", "pinned"},
		"signature": {"--policy-key", p.public},
	}
}

// errDenied is that of a 403.
var errDenied = errors.New("DENIED")

// asked is an answer of the daemon as an error.
func asked(t *testing.T, method, url string) error {
	t.Helper()
	switch a := request(t, method, url); a.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusForbidden:
		return fmt.Errorf("%w: %s", errDenied, a.body)
	default:
		return fmt.Errorf("%s: %s", a.Status, a.body)
	}
}

// verb runs a command that policy may refuse.
func verb(t *testing.T, repo string, flags []string, args ...string) error {
	t.Helper()
	_, err := output(cli(t.Context(), repo, append(args, flags...)...))
	if err != nil && strings.Contains(err.Error(), "policy.") {
		return fmt.Errorf("%w: %w", errDenied, err)
	}
	return err
}

// On every way to an image a policy admits the one and denies the other: the
// registry's, that of a mirror, by tag and by digest, the calls of --api, and
// the verbs, through a daemon and without one.
func TestPolicyOnEveryWay(t *testing.T) {
	p := newPoliced(t)
	car := filepath.Join(t.TempDir(), "other.car")
	must(t, cli(t.Context(), p.origin.repo, "export", p.other, car))
	for policy, flags := range p.flags(t) {
		t.Run(policy, func(t *testing.T) {
			api, repo := port(t), tempDir(t)
			peer := []string{"--peer", p.origin.address(t)}
			d := serve(t, repo, append(append(peer, flags...), "--pin-on-pull", "none", "--api", "127.0.0.1:"+api,
				"--mirror-names", "docker.io/library/admitted:v1=ipfs://"+p.admitted+":v1", "--mirror-names", "docker.io/library/other:v1=ipfs://"+p.other)...)
			must(t, cli(t.Context(), repo, append([]string{"pin", "add", p.admitted}, flags...)...))
			alone := tempDir(t)
			must(t, cli(t.Context(), alone, append(append([]string{"pin", "add", p.admitted, "--bootstrap", "none"}, peer...), flags...)...))
			for cid, name := range map[string]string{p.admitted: "admitted", p.other: "other"} {
				digest, out := p.images[cid].desc.Digest, t.TempDir()
				ways := map[string]error{
					"registry":         asked(t, "GET", d.url("%s/manifests/latest", cid)),
					"registry, digest": asked(t, "GET", d.url("%s/manifests/%s", cid, digest)),
					"mirror, tag":      asked(t, "GET", "http://"+d.host+"/v2/library/"+name+"/manifests/v1?ns=docker.io"),
					"api":              asked(t, "POST", "http://127.0.0.1:"+api+"/api/v0/files/stat?arg=/ipfs/"+cid),
					"pull":             verb(t, repo, flags, "pull", cid, "oci:"+filepath.Join(out, "through")),
					"pull, alone":      verb(t, alone, append([]string{"--offline"}, flags...), "pull", cid, "oci:"+filepath.Join(out, "alone")),
					"export":           verb(t, repo, flags, "export", cid, filepath.Join(out, "through.car")),
				}
				if cid == p.admitted {
					ways["mirror, digest"] = asked(t, "GET", "http://"+d.host+"/v2/library/nowhere/manifests/"+digest.String()+"?ns=docker.io")
					ways["export, alone"] = verb(t, alone, append([]string{"--offline"}, flags...), "export", cid, filepath.Join(out, "alone.car"))
				}
				if policy != "pinned" { // which is what these are for
					ways["pin add"] = verb(t, repo, flags, "pin", "add", cid)
					ways["pin add, alone"] = verb(t, alone, append(append(peer, "--bootstrap", "none"), flags...), "pin", "add", cid)
				}
				if policy == "signature" && errors.Is(ways["api"], errDenied) {
					delete(ways, "api") // a file by itself has no signature
				}
				for way, err := range ways {
					if cid == p.admitted && err != nil || cid == p.other && !errors.Is(err, errDenied) {
						t.Errorf("%s of the %s image: %v", way, name, err)
					}
				}
			}
			if policy != "pinned" {
				if err := verb(t, repo, flags, "import", car); !errors.Is(err, errDenied) {
					t.Errorf("import of the other image: %v", err)
				}
			}
			for _, i := range pins(t, repo) {
				if i.Root != p.admitted {
					t.Errorf("kept: %+v", i)
				}
			}
		})
	}
}

// Beside a stock Kubo the same holds, but for what is pinned: we keep no images
// in a repository of others, and a daemon that could not heed its policy does
// not start.
func TestPolicyBesideKubo(t *testing.T) {
	p, k := newPoliced(t), kuboNode(t)
	for _, cid := range []string{p.admitted, p.other} {
		file := filepath.Join(t.TempDir(), "image.car")
		must(t, cli(t.Context(), p.origin.repo, "export", cid, file))
		must(t, k.ipfs(t, "dag", "import", file))
	}
	all := p.flags(t)
	if err := verb(t, tempDir(t), all["pinned"], "serve", "--ipfs-address", k.api); !errors.Is(err, errDenied) {
		t.Errorf("with --policy-serve=pinned: %v; want that it does not start", err)
	}
	delete(all, "pinned")
	for policy, flags := range all {
		t.Run(policy, func(t *testing.T) {
			d := serve(t, tempDir(t), append(flags, "--ipfs-address", k.api)...)
			for cid, admitted := range map[string]bool{p.admitted: true, p.other: false} {
				for what, err := range map[string]error{
					"registry": asked(t, "GET", d.url("%s/manifests/latest", cid)),
					"pull":     verb(t, tempDir(t), append([]string{"--ipfs-address", k.api}, flags...), "pull", cid, "oci:"+filepath.Join(t.TempDir(), "out")),
				} {
					if admitted && err != nil || !admitted && !errors.Is(err, errDenied) {
						t.Errorf("%s of %s: %v; want it admitted: %t", what, cid, err, admitted)
					}
				}
			}
		})
	}
}
