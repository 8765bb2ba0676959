package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// publishName has a name lead to the image and returns the name.
func publishName(t *testing.T, repo, root string) string {
	t.Helper()
	status, out, stderr := verb(t, repo, "publish", "name", "ipfs://"+root)
	if status != done {
		t.Fatalf("publish name: status %d, %s", status, stderr)
	}
	_, name, _ := strings.Cut(strings.TrimSpace(out), "/ipns/")
	return name
}

// pinningService has pinned whatever it is asked for, and notes what that was.
type pinningService struct {
	mu    sync.Mutex
	asked []string
}

func (s *pinningService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := r.FormValue("cid")
	s.asked = append(s.asked, c)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"count":1,"results":[{"requestid":"1","status":"pinned","pin":{"cid":%q},"delegates":[]}]}`, c)
}

// What is handed on of a name that moves is what it leads to now.
func TestWhatIsHandedOnIsWhereTheNameLeads(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "repo")
	startServe(t, repo)
	root := pushImage(t, repo, []byte("a layer"))
	name := "ipns://" + publishName(t, repo, root)
	if status, out, stderr := verb(t, repo, "export", name, filepath.Join(t.TempDir(), "out.car")); status != done || out != root+"\n" {
		t.Errorf("export: status %d, %s%s; want the root %s", status, out, stderr, root)
	}
	for _, args := range [][]string{{"pin", "remote", "add", name, "--wait", "0"}, {"pin", "remote", "rm", name}} {
		service := &pinningService{}
		server := httptest.NewServer(service)
		status, _, stderr := verb(t, repo, append(args, "--service", server.URL)...)
		server.Close()
		if status != done || !slices.Contains(service.asked, root) {
			t.Errorf("%q: status %d, %s; the service was asked for %q, want %s", args, status, stderr, service.asked, root)
		}
	}
}

// Where something is fetched, the gateway is asked that the reference names.
func TestWhatIsHandedOnComesFromTheGatewayNamed(t *testing.T) {
	const absent = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
	asked := make(chan string, 100)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		http.NotFound(w, r)
	}))
	defer gateway.Close()
	service := httptest.NewServer(&pinningService{})
	defer service.Close()
	ref := gateway.URL + "/ipfs/" + absent
	for _, args := range [][]string{
		{"export", ref, filepath.Join(t.TempDir(), "out.car")},
		{"pin", "remote", "add", ref, "--service", service.URL},
		{"pin", "remote", "rm", ref, "--service", service.URL},
	} {
		status, _, stderr := verb(t, filepath.Join(t.TempDir(), "repo"), append(args, "--offline", "--fetch-timeout", "1s")...)
		select {
		case path := <-asked:
			if status != failed || path != "/ipfs/"+absent {
				t.Errorf("%q: status %d, %s; the gateway was asked for %s", args, status, stderr, path)
			}
		default:
			t.Errorf("%q: status %d, %s; the gateway was not asked", args, status, stderr)
		}
		for len(asked) > 0 {
			<-asked
		}
	}
}

// What is kept is kept under its CID: a name that moves, and a gateway, which
// whoever keeps it may not know, are refused with what to write instead.
func TestWhatIsKeptHasACID(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "repo")
	startServe(t, repo, "--offline")
	root := pushImage(t, repo, []byte("a layer"))
	name := publishName(t, repo, root)
	for _, args := range [][]string{
		{"pin", "add"},
		{"pin", "rm"},
		{"pin", "verify"},
		{"push", "--format", "static", "--name", "a:b", "oci:/nowhere", "--into"},
	} {
		for arg, want := range map[string]string{
			"ipns://" + name:                   "it can lead elsewhere tomorrow; resolve it first: ipfs-registry resolve ipns://" + name,
			"https://example.org/ipfs/" + root: "give /ipfs/" + root,
			"https://example.org/ipns/" + name: "resolve it first",
		} {
			status, out, stderr := verb(t, repo, append(args, arg)...)
			if status != misused || out != "" || !strings.Contains(stderr, want) {
				t.Errorf("%q %s: status %d, %s%s; want %q", args, arg, status, out, stderr, want)
			}
		}
	}
	if _, out, _ := verb(t, repo, "pin", "ls", "--json"); strings.Count(out, `"root"`) != 1 || !strings.Contains(out, root) {
		t.Errorf("kept are %s; want %s alone", out, root)
	}
}
