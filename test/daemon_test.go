package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// daemon is "ipfs-registry serve".
type daemon struct {
	*process
	repo  string
	host  string // of the registry, localhost:PORT
	admin string // localhost:PORT
}

// cli is the program with a repository.
func cli(ctx context.Context, repo string, args ...string) *exec.Cmd {
	return command(ctx, shared.program, append([]string{"--repo", repo}, args...)...)
}

// push publishes what args say, and returns its CID.
func push(t testing.TB, repo string, args ...string) string {
	t.Helper()
	endToEnd(t)
	return lastLine(must(t, cli(t.Context(), repo, append([]string{"push"}, args...)...)))
}

// serveCommand is the daemon on ports of its own, that contacts nobody.
func serveCommand(repo string, flags ...string) (*exec.Cmd, *daemon, error) {
	listen, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	admin, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	d := &daemon{repo: repo, host: "localhost:" + listen, admin: "localhost:" + admin}
	args := append([]string{"serve", "--bootstrap", "none", "--listen", d.host, "--admin", d.admin, "--swarm-listen", "/ip4/127.0.0.1/tcp/0"}, flags...)
	return cli(context.Background(), repo, args...), d, nil
}

// serve starts a daemon for one test.
func serve(t testing.TB, repo string, flags ...string) *daemon {
	t.Helper()
	endToEnd(t)
	cmd, d, err := serveCommand(repo, flags...)
	if err != nil {
		t.Fatal(err)
	}
	d.process = start(t, "ipfs-registry", cmd)
	if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
		t.Fatal(err)
	}
	return d
}

func httpReady(admin string) func() error {
	return func() error {
		res, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", res.Status, body)
		}
		return err
	}
}

// address is where other nodes reach the daemon.
func (d *daemon) address(t testing.TB) string {
	t.Helper()
	var id struct{ Addresses []string }
	out := must(t, cli(t.Context(), d.repo, "id", "--json"))
	if err := json.Unmarshal([]byte(out), &id); err != nil {
		t.Fatal(err)
	}
	for _, address := range id.Addresses {
		if strings.HasPrefix(address, "/ip4/127.0.0.1/tcp/") && strings.Contains(address, "/p2p/") {
			return address
		}
	}
	t.Fatalf("no address on loopback in %s", out)
	return ""
}

// url is of something below /v2/ipfs/.
func (d *daemon) url(path string, args ...any) string {
	return "http://" + d.host + "/v2/ipfs/" + fmt.Sprintf(path, args...)
}

func (d *daemon) name(cid string) string { return d.host + "/ipfs/" + cid }

// terminate stops the daemon, which must take seconds and succeed.
func (d *daemon) terminate(t testing.TB) {
	t.Helper()
	if err := d.signal(syscall.SIGTERM, 15*time.Second); err != nil {
		t.Fatal(err)
	}
	if d.err != nil {
		t.Fatalf("after SIGTERM: %v\n%s", d.err, d.log.tail(4<<10))
	}
}

// answer is a response that has been read.
type answer struct {
	*http.Response
	body []byte
}

func request(t testing.TB, method, url string, header ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %s: %v", method, url, res.Status, err)
	}
	return answer{res, body}
}

// code is the error code of the answer, or "".
func (a answer) code() string {
	var body struct{ Errors []struct{ Code string } }
	if json.Unmarshal(a.body, &body) != nil || len(body.Errors) == 0 {
		return ""
	}
	return body.Errors[0].Code
}

// published is a daemon with all images under test, for tests that only read.
type published struct {
	*daemon
	layouts, nerdctl map[string]string // CIDs by the images' names
}

func publishedImages(t testing.TB) *published {
	t.Helper()
	images := testImages(t)
	return shared.published.get(t, "publish the images", func() (*published, error) { return startPublished(images) })
}

func startPublished(images *images) (*published, error) {
	cmd, d, err := serveCommand(filepath.Join(shared.dir, "published"))
	if err != nil {
		return nil, err
	}
	if d.process, err = startShared("ipfs-registry", cmd); err != nil {
		return nil, err
	}
	if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
		return nil, err
	}
	p := &published{d, map[string]string{}, map[string]string{}}
	for name, l := range images.byName() {
		for format, cids := range map[string]map[string]string{"layout": p.layouts, "nerdctl": p.nerdctl} {
			out, err := output(cli(context.Background(), d.repo, "push", "--format", format, l.spec()))
			if err != nil {
				return nil, err
			}
			cids[name] = lastLine(out)
		}
	}
	return p, nil
}

// forEach runs the test for an image in each of its forms.
func (p *published) forEach(t *testing.T, images []string, test func(t *testing.T, image, name string)) {
	for form, cids := range map[string]map[string]string{"layout": p.layouts, "nerdctl": p.nerdctl} {
		for _, image := range images {
			t.Run(form+" "+image, func(t *testing.T) { test(t, image, p.name(cids[image])) })
		}
	}
}

// forSome is for clients that take their time: each form and each kind of image,
// but not all of one with all of the other.
func (p *published) forSome(t *testing.T, test func(t *testing.T, image, name string)) {
	t.Run("layout real", func(t *testing.T) { test(t, "real", p.name(p.layouts["real"])) })
	t.Run("layout scratch", func(t *testing.T) { test(t, "scratch", p.name(p.layouts["scratch"])) })
	t.Run("nerdctl multi", func(t *testing.T) { test(t, "multi", p.name(p.nerdctl["multi"])) })
}

func (i *images) byName() map[string]layout {
	return map[string]layout{"real": i.real, "multi": i.multi, "artifact": i.artifact, "scratch": i.scratch}
}

// descriptor asks the registry what ref is.
func (d *daemon) descriptor(t testing.TB, cid, ref string) ocispec.Descriptor {
	t.Helper()
	a := request(t, http.MethodHead, d.url("%s/manifests/%s", cid, ref), "Accept", ocispec.MediaTypeImageManifest+", "+ocispec.MediaTypeImageIndex)
	if a.StatusCode != http.StatusOK {
		t.Fatalf("HEAD %s of %s: %s", ref, cid, a.Status)
	}
	dgst, err := digest.Parse(a.Header.Get("Docker-Content-Digest"))
	if err != nil {
		t.Fatal(err)
	}
	return ocispec.Descriptor{MediaType: a.Header.Get("Content-Type"), Digest: dgst, Size: a.ContentLength}
}
