package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/registry"
)

var layer = bytes.Repeat([]byte("0123456789abcdef"), 200_000)

// world is a registry on a real listener, with one image in it.
type world struct {
	url     string
	handler http.Handler
	store   *imagetest.Store
	blobs   imagetest.Blobs
	image   ocispec.Descriptor
	sig     ocispec.Descriptor
	root    cid.Cid
	metrics *prometheus.Registry
}

func start(t *testing.T, images func(image.Source) registry.Images) *world {
	t.Helper()
	w := &world{store: imagetest.NewStore(), blobs: imagetest.Blobs{}, metrics: prometheus.NewRegistry()}
	w.image = w.blobs.Image("amd64", []byte("small layer"), layer)
	w.sig = w.blobs.Artifact(w.image, "text/sig", []byte("sig"))
	w.root = w.blobs.Layout(w.store, nil, imagetest.Tagged(w.image, "v1"), imagetest.Tagged(w.image, "v2"), imagetest.Tagged(w.image, "v3"), w.sig)
	h := registry.New(images(w.store), registry.Options{Metrics: w.metrics})
	w.handler = h
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Listener.Close()
	srv.Listener = registry.Bound(l)
	srv.Start()
	t.Cleanup(srv.Close)
	w.url = srv.URL
	return w
}

func plain(s image.Source) registry.Images {
	return image.NewResolver(s, dssync.MutexWrap(datastore.NewMapDatastore()), image.ResolverOptions{})
}

func (w *world) path(format string, args ...any) string {
	return w.url + "/v2/ipfs/" + w.root.String() + "/" + fmt.Sprintf(format, args...)
}

func do(t *testing.T, method, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
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
		t.Fatal(err)
	}
	return res, body
}

func TestPing(t *testing.T) {
	w := start(t, plain)
	for _, p := range []string{"/v2/", "/v2"} {
		res, body := do(t, "GET", w.url+p)
		if res.StatusCode != 200 || string(body) != "{}" || res.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
			t.Errorf("%s: %d %q", p, res.StatusCode, body)
		}
	}
}

func TestContentHeaders(t *testing.T) {
	w := start(t, plain)
	big := digest.FromBytes(layer)
	for url, want := range map[string]struct {
		mediaType, cache string
		dgst             digest.Digest
		accept           string
	}{
		w.path("manifests/v1"):                  {ocispec.MediaTypeImageManifest, "", w.image.Digest, "bytes"},
		w.path("manifests/%s", w.image.Digest):  {ocispec.MediaTypeImageManifest, "public, max-age=31536000, immutable", w.image.Digest, "bytes"},
		w.path("blobs/%s?ns=docker.io", big):    {"application/octet-stream", "public, max-age=31536000, immutable", big, "bytes"},
		w.path("blobs/%s", w.image.Digest):      {"application/octet-stream", "public, max-age=31536000, immutable", w.image.Digest, "bytes"},
		w.path("blobs/sha256%%3A%s", big.Hex()): {"application/octet-stream", "public, max-age=31536000, immutable", big, "bytes"},
	} {
		head, none := do(t, "HEAD", url)
		get, body := do(t, "GET", url)
		if len(none) != 0 || digest.FromBytes(body) != want.dgst {
			t.Errorf("%s: HEAD sent %d bytes, GET the digest %s", url, len(none), digest.FromBytes(body))
		}
		for _, res := range []*http.Response{head, get} {
			for name, value := range map[string]string{
				"Content-Type": want.mediaType, "Docker-Content-Digest": want.dgst.String(), "ETag": `"` + want.dgst.String() + `"`,
				"Content-Length": fmt.Sprint(len(body)), "Cache-Control": want.cache, "Accept-Ranges": want.accept,
			} {
				if got := res.Header.Get(name); got != value {
					t.Errorf("%s %s: %s is %q; want %q", res.Request.Method, url, name, got, value)
				}
			}
		}
		if strings.Contains(url, "ns=") && get.Header.Get("OCI-Namespace") != "docker.io" {
			t.Error("the namespace is not confirmed")
		}
	}
}

func TestRanges(t *testing.T) {
	w := start(t, plain)
	url := w.path("blobs/%s", digest.FromBytes(layer))
	for want, tc := range map[string]struct {
		header []string
		status int
		body   string
	}{
		"a probe":                   {[]string{"Range", "bytes=0-1"}, 206, "01"},
		"an open end":               {[]string{"Range", fmt.Sprintf("bytes=%d-", len(layer)-3)}, 206, "def"},
		"a suffix":                  {[]string{"Range", "bytes=-2"}, 206, "ef"},
		"the middle":                {[]string{"Range", "bytes=1048570-1048581"}, 206, "abcdef012345"},
		"beyond the end":            {[]string{"Range", "bytes=99999999-"}, 416, ""},
		"If-Range of the digest":    {[]string{"Range", "bytes=0-1", "If-Range", `"` + digest.FromBytes(layer).String() + `"`}, 206, "01"},
		"If-None-Match":             {[]string{"If-None-Match", `"` + digest.FromBytes(layer).String() + `"`}, 304, ""},
		"If-Range of another":       {[]string{"Range", "bytes=0-1", "If-Range", `"x"`}, 200, string(layer)},
		"identity asked for":        {[]string{"Range", "bytes=4-5", "Accept-Encoding", "identity"}, 206, "45"},
		"no range":                  {nil, 200, string(layer)},
		"encodings are not applied": {[]string{"Accept-Encoding", "zstd;q=1.0, gzip;q=0.8"}, 200, string(layer)},
	} {
		res, body := do(t, "GET", url, tc.header...)
		if res.StatusCode != tc.status || (tc.status != 416 && string(body) != tc.body) || res.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %d with %d bytes; want %d with %d", want, res.StatusCode, len(body), tc.status, len(tc.body))
		}
	}
}

// What the answer to one range says is read: stargz-snapshotter wants a type that
// parses and the length of all, SOCI that ranges are accepted.
func TestWhatARangeSays(t *testing.T) {
	w := start(t, plain)
	res, _ := do(t, "GET", w.path("blobs/%s", digest.FromBytes(layer)), "Range", "bytes=0-1", "Accept-Encoding", "identity")
	_, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if got, want := res.Header.Get("Content-Range"), fmt.Sprintf("bytes 0-1/%d", len(layer)); err != nil || got != want || res.ContentLength != 2 || res.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("%v; want %s", res.Header, want)
	}
}

// Each range has its part, in the order of asking: podman counts them.
func TestAThousandRangesInOneRequest(t *testing.T) {
	apart, mixed := make([]int, 1024), []int{9000, 0, 3000, 9000, 9001, 0}
	for i := range apart {
		apart[i] = i * 3000
	}
	for name, starts := range map[string][]int{"apart": apart, "out of order, twice and over one another": mixed} {
		t.Run(name, func(t *testing.T) { wantParts(t, start(t, plain), starts) })
	}
}

// wantParts asks for ten bytes at each of the offsets.
func wantParts(t *testing.T, w *world, starts []int) {
	t.Helper()
	var ranges []string
	for _, at := range starts {
		ranges = append(ranges, fmt.Sprintf("%d-%d", at, at+9))
	}
	res, body := do(t, "GET", w.path("blobs/%s", digest.FromBytes(layer)), "Range", "bytes="+strings.Join(ranges, ","))
	_, params, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode != 206 || err != nil {
		t.Fatalf("%d, %v", res.StatusCode, err)
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for i, at := range starts {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
		data, err := io.ReadAll(part)
		want := fmt.Sprintf("bytes %d-%d/%d", at, at+9, len(layer))
		if err != nil || !bytes.Equal(data, layer[at:at+10]) || part.Header.Get("Content-Range") != want {
			t.Fatalf("part %d is %q of %s, %v", i, data, part.Header.Get("Content-Range"), err)
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("after the last part: %v", err)
	}
}

func TestTagsList(t *testing.T) {
	w := start(t, plain)
	for query, want := range map[string]struct{ tags, link string }{
		"":              {"v1 v2 v3", ""},
		"?n=2":          {"v1 v2", `</v2/NAME/tags/list?last=v2&n=2>; rel="next"`},
		"?n=2&last=v2":  {"v3", ""},
		"?last=v1":      {"v2 v3", ""},
		"?last=v11&n=1": {"v2", `</v2/NAME/tags/list?last=v2&n=1>; rel="next"`},
		"?n=0":          {"", ""},
		"?n=3":          {"v1 v2 v3", ""},
		"?last=z":       {"", ""},
	} {
		res, body := do(t, "GET", w.path("tags/list")+query)
		var got struct {
			Name string
			Tags []string
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		link := strings.ReplaceAll(want.link, "NAME", "ipfs/"+w.root.String())
		if got.Tags == nil || strings.Join(got.Tags, " ") != want.tags || res.Header.Get("Link") != link || got.Name != "ipfs/"+w.root.String() {
			t.Errorf("%s: %s with Link %q; want %q with %q", query, body, res.Header.Get("Link"), want.tags, link)
		}
	}
}

func TestReferrers(t *testing.T) {
	w := start(t, plain)
	for query, want := range map[string]struct {
		n       int
		applied string
	}{"": {1, ""}, "?artifactType=text/sig": {1, "artifactType"}, "?artifactType=text/other": {0, "artifactType"}} {
		res, body := do(t, "GET", w.path("referrers/%s", w.image.Digest)+query)
		var index ocispec.Index
		if err := json.Unmarshal(body, &index); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != ocispec.MediaTypeImageIndex || index.Manifests == nil ||
			len(index.Manifests) != want.n || res.Header.Get("OCI-Filters-Applied") != want.applied || index.SchemaVersion != 2 {
			t.Errorf("%s: %d %s", query, res.StatusCode, body)
		}
		if want.n == 1 && (index.Manifests[0].Digest != w.sig.Digest || index.Manifests[0].ArtifactType != "text/sig") {
			t.Errorf("%s: %s", query, body)
		}
	}
	if res, body := do(t, "GET", w.path("referrers/%s", digest.FromString("nothing refers to this"))); res.StatusCode != 200 || !strings.Contains(string(body), `"manifests":[]`) {
		t.Errorf("%d %s; want an empty index", res.StatusCode, body)
	}
}

// TestErrors is the table of the classes, their statuses, codes and texts.
func TestErrors(t *testing.T) {
	w := start(t, plain)
	absent := digest.FromString("absent")
	text := w.store.AddFile([]byte("hello"))
	nobody := w.store.AddFile([]byte("soon gone"))
	w.store.Remove(nobody)
	lying := w.blobs.Layout(w.store, imagetest.Blobs{w.image.Digest: []byte("{}")}, w.image)
	v2 := func(format string, args ...any) string { return w.url + "/v2/" + fmt.Sprintf(format, args...) }
	for _, tc := range []struct {
		method, url string
		status      int
		code, text  string
	}{
		{"GET", w.path("manifests/%s", absent), 404, "MANIFEST_UNKNOWN", absent.String()},
		{"GET", w.path("manifests/nope"), 404, "MANIFEST_UNKNOWN", "it has the tags v1, v2, v3"},
		{"GET", w.path("manifests/%s", digest.FromBytes(layer)), 404, "MANIFEST_UNKNOWN", "no manifest"},
		{"GET", w.path("manifests/.nope"), 400, "MANIFEST_INVALID", "it is no tag"},
		{"GET", w.path("manifests/%s", strings.Repeat("a", 129)), 400, "MANIFEST_INVALID", "at most 128"},
		{"GET", w.path("manifests/sha256:abc"), 400, "DIGEST_INVALID", "read the digest"},
		{"GET", w.path("blobs/%s", absent), 404, "BLOB_UNKNOWN", absent.String()},
		{"GET", w.path("blobs/sha256:abc"), 400, "DIGEST_INVALID", "64 lower-case hex digits"},
		{"GET", w.path("blobs/latest"), 400, "DIGEST_INVALID", "read the digest"},
		{"GET", w.path("referrers/sha256:abc"), 400, "DIGEST_INVALID", "read the digest"},
		{"GET", v2("ipfs/%s/manifests/latest", text), 404, "NAME_UNKNOWN", "a text file of 5 bytes"},
		{"GET", v2("ipfs/%s/tags/list", text), 404, "NAME_UNKNOWN", text.String()},
		{"GET", v2("ipfs/%s/manifests/latest", nobody), 504, "UNAVAILABLE", nobody.String()},
		{"GET", v2("ipfs/%s/blobs/%s", nobody, absent), 504, "UNAVAILABLE", nobody.String()},
		{"GET", v2("ipfs/%s/manifests/latest", lying), 502, "DIGEST_INVALID", w.image.Digest.String()},
		{"GET", v2("ipfs/garbage/manifests/latest"), 400, "NAME_INVALID", "is no CID"},
		{"GET", v2("ipfs/QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH/manifests/latest"), 400, "NAME_INVALID", "use ipfs/bafybei"},
		{"GET", v2("library/alpine/manifests/latest"), 400, "NAME_INVALID", "does not begin with ipfs/"},
		{"GET", v2("ipfs/%s%s/manifests/latest", w.root, strings.Repeat("/a", 200)), 400, "NAME_INVALID", "longer than 255"},
		{"GET", v2("_catalog"), 404, "UNSUPPORTED", "no endpoint"},
		{"GET", w.url + "/", 404, "UNSUPPORTED", "below /v2/"},
		{"GET", w.path("tags/list?n=-1"), 400, "UNSUPPORTED", "no number of tags"},
		{"POST", w.path("blobs/uploads/"), 405, "UNSUPPORTED", "read-only"},
		{"PUT", w.path("manifests/v1"), 405, "UNSUPPORTED", "ipfs-registry push"},
		{"PATCH", w.path("blobs/uploads/1"), 405, "UNSUPPORTED", "read-only"},
		{"DELETE", w.path("manifests/%s", w.image.Digest), 405, "UNSUPPORTED", "read-only"},
	} {
		res, body := do(t, tc.method, tc.url)
		var got struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal(body, &got); err != nil || len(got.Errors) != 1 {
			t.Errorf("%s %s: %d %q is not the error JSON of the spec", tc.method, tc.url, res.StatusCode, body)
			continue
		}
		if e := got.Errors[0]; res.StatusCode != tc.status || e.Code != tc.code || !strings.Contains(e.Message, tc.text) {
			t.Errorf("%s %s:\n got %d %s %q\nwant %d %s with %q", tc.method, tc.url, res.StatusCode, e.Code, e.Message, tc.status, tc.code, tc.text)
		}
		if (tc.status == 504) != (res.Header.Get("Retry-After") != "") {
			t.Errorf("%s: Retry-After is %q with status %d", tc.url, res.Header.Get("Retry-After"), tc.status)
		}
		if tc.method == "GET" {
			if head, none := do(t, "HEAD", tc.url); head.StatusCode != tc.status || len(none) != 0 {
				t.Errorf("HEAD %s: %d with %d bytes; GET has %d", tc.url, head.StatusCode, len(none), tc.status)
			}
		}
	}
}

// What went wrong is in the log under the name that it has everywhere.
func TestFailuresAreLogged(t *testing.T) {
	var logs bytes.Buffer
	store, blobs := imagetest.NewStore(), imagetest.Blobs{}
	lie := bytes.Clone(layer)
	lie[0]++
	root := blobs.Layout(store, imagetest.Blobs{digest.FromBytes(layer): lie}, blobs.Image("amd64", layer))
	srv := httptest.NewServer(registry.New(plain(store), registry.Options{Log: slog.New(slog.NewTextHandler(&logs, nil))}))
	for _, name := range []string{"bafkqaaa/manifests/latest", root.String() + "/blobs/" + digest.FromBytes(layer).String()} {
		res, err := http.Get(srv.URL + "/v2/ipfs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body) // it is cut off
		res.Body.Close()
	}
	srv.Close() // and with it all that is logged
	for _, says := range []string{`msg="could not answer" .* error="open `, `msg="aborted an answer" .* error="verify `} {
		if !regexp.MustCompile(says).Match(logs.Bytes()) {
			t.Errorf("logged\n%swant %q", &logs, says)
		}
	}
}

// TestALieIsNeverASmoothAnswer reads a layer whose bytes are not its digest's.
func TestALieIsNeverASmoothAnswer(t *testing.T) {
	w := start(t, plain)
	lie := bytes.Clone(layer)
	lie[0]++
	root := w.blobs.Layout(w.store, imagetest.Blobs{digest.FromBytes(layer): lie}, w.image)
	res, err := http.Get(fmt.Sprintf("%s/v2/ipfs/%s/blobs/%s", w.url, root, digest.FromBytes(layer)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil || n >= int64(len(layer)) {
		t.Errorf("%d of %d bytes of a lie arrived, error %v; want an aborted connection", n, len(layer), err)
	}
	eventually(t, func() bool {
		return counted(t, w, "ipfs_registry_requests_total", "blob") == 1 && counted(t, w, "ipfs_registry_failures_total", "corrupt") == 1
	}, "one request and one verification failure to be counted")
}

// counted adds up the counters of a name that have the label value.
func counted(t *testing.T, w *world, name, label string) (sum float64) {
	t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetValue() == label {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

// waiting is Images whose blobs never come; it tells when a question stopped.
type waiting struct {
	registry.Images
	asked, stopped chan struct{}
}

func (i *waiting) Blob(ctx context.Context, _ image.Path, _ digest.Digest) (*image.Content, error) {
	close(i.asked)
	<-ctx.Done()
	close(i.stopped)
	return nil, ctx.Err()
}

// A HEAD ends in its own time, even if something still arrives.
func TestHeadIsBounded(t *testing.T) {
	images := &waiting{asked: make(chan struct{}), stopped: make(chan struct{})}
	srv := httptest.NewServer(registry.New(images, registry.Options{HeadLimit: 50 * time.Millisecond}))
	defer srv.Close()
	w := start(t, plain)
	res, _ := do(t, "HEAD", srv.URL+strings.TrimPrefix(w.path("blobs/%s", digest.FromBytes(layer)), w.url))
	if res.StatusCode != http.StatusGatewayTimeout || res.Header.Get("Retry-After") == "" {
		t.Errorf("%s, Retry-After %q", res.Status, res.Header.Get("Retry-After"))
	}
	<-images.stopped
}

// absent is a Source whose files never come; it counts who opens one.
type absent struct{ begun, open atomic.Int32 }

func (s *absent) Open(ctx context.Context, _ image.Path) (image.File, error) {
	s.begun.Add(1)
	s.open.Add(1)
	defer s.open.Add(-1)
	<-ctx.Done()
	return nil, ctx.Err()
}

// What was begun for a client, the finding of its image included, ends when it
// goes away.
func TestACancelledClientStopsItsWork(t *testing.T) {
	for _, what := range []string{"manifests/latest", "manifests/" + digest.FromBytes(layer).String(), "blobs/" + digest.FromBytes(layer).String(), "tags/list"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			source := &absent{}
			w := start(t, func(image.Source) registry.Images { return plain(source) })
			ctx, cancel := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, "GET", w.path("%s", what), nil)
			if err != nil {
				t.Fatal(err)
			}
			gone := make(chan error, 1)
			go func() {
				_, err := http.DefaultClient.Do(req)
				gone <- err
			}()
			eventually(t, func() bool { return source.begun.Load() > 0 }, "the image to be looked for")
			cancel()
			if err := <-gone; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			eventually(t, func() bool { return source.open.Load() == 0 }, "the work to end without its client")
		})
	}
}

func FuzzPath(f *testing.F) {
	f.Add("/v2/ipfs/bafkqaaa/manifests/latest")
	f.Add("/v2/ipfs/blobs/manifests/blobs/sha256:abc")
	f.Add("/v2/../../etc/passwd")
	h := registry.New(plain(imagetest.NewStore()), registry.Options{})
	f.Fuzz(func(t *testing.T, path string) {
		req := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		req.URL.Path = path
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code == 500 || rec.Code == 200 && path != "/v2" && path != "/v2/" {
			t.Fatalf("%q: %d %s", path, rec.Code, rec.Body)
		}
	})
}
