package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/mfs"
)

// addRequest is how the clients add: a form with one file.
func addRequest(t *testing.T, base, query, data string) *http.Request {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	file, err := form.CreateFormFile("file", "file")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(file, data)
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/v0/add?"+query, &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	return req
}

// answer is the status and body of the answer to req.
func answer(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func post(t *testing.T, target string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer(t, req)
}

func TestAPIAnswersWhatTheClientsAsk(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	server := httptest.NewServer(n.APIHandler(nil))
	defer server.Close()
	const data = "hello world\n"
	want := merkledag.NewRawNode([]byte(data)).Cid()

	status, body := answer(t, addRequest(t, server.URL, "cid-version=1&pin=true", data))
	var added struct{ Name, Hash, Size string }
	if err := json.NewDecoder(strings.NewReader(body)).Decode(&added); err != nil || status != http.StatusOK || added.Hash != want.String() {
		t.Fatalf("add: %d %s, %v; want %s", status, body, err, want)
	}
	if _, pinned, err := kuboOf(t, n).node.Pinning.IsPinned(t.Context(), want); err != nil || !pinned {
		t.Errorf("pinned %v, %v", pinned, err)
	}
	if _, err := mfs.Lookup(kuboOf(t, n).node.FilesRoot, publishedDir+"/"+want.String()); err != nil {
		t.Errorf("not remembered as published: %v", err)
	}

	arg := url.QueryEscape("/ipfs/" + want.String())
	if status, body := post(t, server.URL+"/api/v0/cat?offset=6&length=5&arg="+arg); status != http.StatusOK || body != "world" {
		t.Errorf("cat: %d %q", status, body)
	}
	status, body = post(t, server.URL+"/api/v0/files/stat?arg="+arg)
	var stat struct{ Size, CumulativeSize uint64 }
	if err := json.Unmarshal([]byte(body), &stat); err != nil || status != http.StatusOK || stat.Size != uint64(len(data)) {
		t.Errorf("files/stat: %d %s, %v", status, body, err)
	}
}

func TestAPIAddWithoutPinIsNotPublished(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	server := httptest.NewServer(n.APIHandler(nil))
	defer server.Close()
	if status, body := answer(t, addRequest(t, server.URL, "pin=false&cid-version=1", "x")); status != http.StatusOK {
		t.Fatal(status, body)
	}
	c := merkledag.NewRawNode([]byte("x")).Cid()
	if _, err := mfs.Lookup(kuboOf(t, n).node.FilesRoot, publishedDir+"/"+c.String()); err == nil {
		t.Error("remembered as published")
	}
}

func TestAPIRefusesEverythingElse(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	server := httptest.NewServer(n.APIHandler(nil))
	defer server.Close()
	root := absent("x").String()
	for name, test := range map[string]struct {
		method, path string
		header       string
		want         int
	}{
		"another command":          {"POST", "/api/v0/id", "", 403},
		"the stop":                 {"POST", "/api/v0/shutdown", "", 403},
		"the config":               {"POST", "/api/v0/config/show", "", 403},
		"the key of a swarm":       {"POST", "/api/v0/key/export?arg=self", "", 403},
		"below a command":          {"POST", "/api/v0/cat/x", "", 403},
		"beside a command":         {"POST", "/api/v0/files/read?arg=/", "", 403},
		"our own publish":          {"POST", publishPath, "", 403},
		"a gateway":                {"GET", "/ipfs/" + root, "", 403},
		"the root":                 {"GET", "/", "", 403},
		"GET":                      {"GET", "/api/v0/cat?arg=/ipfs/" + root, "", 403},
		"a file of the node's own": {"POST", "/api/v0/files/stat?arg=/ipfs-registry", "", 403},
		"an IPNS name":             {"POST", "/api/v0/cat?arg=/ipns/example.com", "", 403},
		"files of the machine":     {"POST", "/api/v0/add?nocopy=true", "", 403},
		"the node's own files":     {"POST", "/api/v0/add?to-files=/x", "", 403},
		"a browser":                {"POST", "/api/v0/cat?arg=/ipfs/" + root, "Origin: http://localhost:5001", 403},
		"a browser's extension":    {"POST", "/api/v0/cat?arg=/ipfs/" + root, "Origin: chrome-extension://nibjojkomfdiaoajekhjakgkdhaomnch", 403},
		"a browser's form":         {"POST", "/api/v0/cat?arg=/ipfs/" + root, "Sec-Fetch-Site: cross-site", 403},
		"a browser's page":         {"POST", "/api/v0/cat?arg=/ipfs/" + root, "Referer: http://example.com/", 403},
		"a browser by its name":    {"POST", "/api/v0/cat?arg=/ipfs/" + root, "User-Agent: Mozilla/5.0", 403},
		"dots":                     {"POST", "/api/v0/cat/../id", "", 403},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), test.method, server.URL+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if k, v, ok := strings.Cut(test.header, ": "); ok {
				req.Header.Set(k, v)
			}
			if status, body := answer(t, req); status != test.want {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}

func TestAPIFile(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:5001": "/ip4/127.0.0.1/tcp/5001",
		"0.0.0.0:5001":   "/ip4/127.0.0.1/tcp/5001",
		"[::]:5001":      "/ip6/::1/tcp/5001",
	} {
		t.Run(listen, func(t *testing.T) {
			path := t.TempDir()
			file := filepath.Join(path, "api")
			if err := os.WriteFile(file, []byte("/ip4/127.0.0.1/tcp/9"), 0o600); err != nil {
				t.Fatal(err)
			}
			n := startNode(t, Options{RepoPath: path})
			if _, err := os.Stat(file); err == nil {
				t.Error("the file of a daemon that crashed is still there")
			}
			addr, err := net.ResolveTCPAddr("tcp", listen)
			if err != nil {
				t.Fatal(err)
			}
			if err := n.WriteAPIFile(addr); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(file); err != nil || string(got) != want {
				t.Errorf("%s, %v", got, err)
			}
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(file); err == nil {
				t.Error("Close left it there")
			}
		})
	}
}

func FuzzRecorderRoot(f *testing.F) {
	c := absent("x")
	f.Add([]byte(`{"Name":"file","Hash":"`+c.String()+`","Size":"3"}`+"\n"), 10)
	f.Add([]byte("{}\n{\"Hash\":\"no\"}"), 1)
	f.Fuzz(func(t *testing.T, written []byte, chunk int) {
		r := &recorder{ResponseWriter: httptest.NewRecorder()}
		for len(written) > 0 {
			n := min(max(chunk, 1), len(written))
			if _, err := r.Write(written[:n]); err != nil {
				t.Fatal(err)
			}
			written = written[n:]
		}
		if len(r.tail) > maxAnswer {
			t.Errorf("kept %d bytes", len(r.tail))
		}
		if c, ok := r.root(); ok != c.Defined() {
			t.Errorf("%v but %s", ok, c)
		}
	})
}

func TestRecorderTakesTheLastObject(t *testing.T) {
	r := &recorder{ResponseWriter: httptest.NewRecorder()}
	for _, s := range []string{"inner", "outer"} {
		fmt.Fprintf(r, "{\"Hash\":%q}\n", absent(s))
	}
	if got, ok := r.root(); !ok || !got.Equals(absent("outer")) {
		t.Errorf("%s, %v", got, ok)
	}
	if _, ok := (&recorder{}).root(); ok {
		t.Error("a root of nothing")
	}
}
