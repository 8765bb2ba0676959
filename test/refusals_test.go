package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// refusal is an image that can't be had: what the registry answers, and what a
// client makes of it. This is the table in docs/retrieval.md.
type refusal struct {
	why    string
	worker *daemon
	cid    string
	status string
	says   []string // in the answer of the registry, and in its log if it is to blame
	// prints is what every client prints, and docker what Docker prints besides.
	prints, docker string
}

func (r refusal) image() string { return r.worker.name(r.cid) }

// get prints the status and the body of the answer to a GET, and fails as the
// clients do.
func (r refusal) get(string) (string, error) {
	res, err := http.Get(r.worker.url("%s/manifests/latest", r.cid))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= http.StatusBadRequest {
		err = errors.New(res.Status)
	}
	return res.Status + "\n" + string(body), err
}

// What a failure looks like to those who see it. The clients ask with HEAD, so
// most print the status alone; the sentence is in the answer to a GET and in the
// registry's log.
func TestClientsSayWhy(t *testing.T) {
	endToEnd(t)
	clients := pullClients(t)
	var running sync.WaitGroup
	type attempt struct {
		client string
		refusal
		result
	}
	var all []*attempt
	for _, r := range refusals(t) {
		clients[plainGET] = r.get
		for client, pull := range clients {
			a := &attempt{client: client, refusal: r}
			all = append(all, a)
			running.Go(func() { a.result = pull.result(a.image()) })
		}
	}
	running.Wait()
	for _, r := range all {
		t.Run(r.client+", "+r.why, func(t *testing.T) {
			if r.err == nil || r.client == plainGET && r.err.Error() != r.status {
				t.Errorf("%v; want a failure, %s: %s", r.err, r.status, r.printed)
			}
			for _, says := range r.expected(r.client) {
				if !strings.Contains(r.printed, says) {
					t.Errorf("it prints nothing of %q: %v\n%s", says, r.err, r.printed)
				}
				if r.client == plainGET && r.status >= "500" {
					r.worker.logs(t, says)
				}
			}
		})
	}
}

// plainGET is the client that shows what the others don't.
const plainGET = "GET"

func (r refusal) expected(client string) []string {
	switch client {
	case plainGET:
		return r.says
	case "docker":
		return []string{r.prints, r.docker}
	}
	return []string{r.prints}
}

func refusals(t *testing.T) []refusal {
	t.Helper()
	h := hostile{t, tempDir(t)}
	must(t, cli(t.Context(), h.repo, "id")) // creates the repository
	text := filepath.Join(t.TempDir(), "text")
	if err := os.MkdirAll(text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(text, "readme.txt"), []byte("no image\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	noImage := h.add(text)
	good, corrupt := replacedManifest(h)
	local := serve(t, h.repo, "--offline")

	missing, k := rawCID(t, digest.FromString(t.Name())), kuboNode(t)
	unavailable := func(why, gateway string, says ...string) refusal {
		return refusal{why: why, worker: gatewayWorker(t, "http://"+gateway), cid: missing, status: "504 Gateway Timeout",
			says: append(says, missing, "nothing arrived for 3s while waiting for an answer", gateway), prints: "504 Gateway Timeout"}
	}
	return []refusal{
		unavailable("nobody has it", k.gateway, "it answers, and has not found this"),
		unavailable("the gateway stalls", stalling(t), "it answers nothing"),
		unavailable("nobody answers", "127.0.0.1:"+port(t), "connection refused"),
		{why: "the bytes are others", worker: local, cid: corrupt, status: "502 Bad Gateway",
			says: []string{good.manifestDesc.Digest.String()}, prints: "502 Bad Gateway"},
		{why: "it is no image", worker: local, cid: noImage, status: "404 Not Found",
			says: []string{"it is a directory"}, prints: "not found", docker: "it is a directory"},
	}
}

// A pull that breaks off in the middle of a layer goes on from where it was: by
// itself, but for BuildKit, which has to be run again. What has come does not
// come again.
func TestClientsResume(t *testing.T) {
	endToEnd(t)
	l, layer := randomImage(t)
	far, k := startToxiproxy(t), kuboNode(t)
	cid := push(t, tempDir(t), "--ipfs-address", k.api, l.spec())
	clients := pullClients(t)
	for _, client := range []string{"docker", "ctr", "buildctl"} {
		t.Run(client, func(t *testing.T) {
			link := far.link(t, k.gateway, slowRate)
			d := launchPuller(t, "--offline", "--gateway", link.url(), "--fetch-timeout", "5s", "--log-level", "debug")
			if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
				t.Fatal(err)
			}
			pull := func() chan result {
				done := make(chan result, 1)
				go func() { done <- clients[client].result(d.name(cid)) }()
				return done
			}
			first := pull()
			eventually(t, startLimit, "the layer comes", func() error {
				if n := metric(t, d, "ipfs_registry_retrieval_bytes_total"); n < 8*midBlob {
					return fmt.Errorf("%.0f bytes came", n)
				}
				return nil
			})
			link.enable(t, false)
			d.logs(t, "aborted an answer")
			link.unlimited(t)
			link.enable(t, true)
			got := <-first
			if client == "buildctl" && got.err != nil && strings.Contains(got.printed, "unexpected EOF") {
				got = <-pull()
			} else {
				d.logs(t, `range="bytes=`)
			}
			if got.err != nil {
				t.Errorf("it did not pull: %v\n%s", got.err, got.printed)
			}
			d.fetchedOnce(t, layer)
		})
	}
}

// pullClient pulls an image, and returns what it printed.
type pullClient func(image string) (string, error)

type result struct {
	printed string
	err     error
}

func (c pullClient) result(image string) (r result) {
	r.printed, r.err = c(image)
	return r
}

func pullClients(t *testing.T) map[string]pullClient {
	t.Helper()
	d, c, b := dockerEngine(t), containerdEngine(t), buildkitEngine(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	run := func(cmd []string) (string, error) { return combined(command(ctx, cmd[0], cmd[1:]...)) }
	namespace := namespaceOf(t)
	return map[string]pullClient{
		"docker":  func(image string) (string, error) { return run(d.cmd(t, "pull", image).Args) },
		"nerdctl": func(image string) (string, error) { return run(c.nerdctl(t, namespace, "pull", image).Args) },
		"ctr": func(image string) (string, error) {
			return run(c.ctr(t, namespace, "images", "pull", "--plain-http", image+":latest").Args)
		},
		"buildctl": func(image string) (string, error) {
			dir, err := os.MkdirTemp(shared.dir, "build-")
			if err != nil {
				return "", err
			}
			if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM "+image+"\n"), 0o600); err != nil {
				return "", err
			}
			return run([]string{tool("buildctl"), "--addr", b.address, "build", "--no-cache", "--progress=plain", "--frontend", "dockerfile.v0",
				"--local", "context=" + dir, "--local", "dockerfile=" + dir, "--output", "type=oci,dest=" + filepath.Join(dir, "out.tar")})
		},
	}
}
