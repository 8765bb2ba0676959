package publish_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// inFront answers the requests that it has an answer for and lets the others
// through to a registry.
func inFront(t *testing.T, of string, answer func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer(w, r) {
			return
		}
		resp, err := http.Get("http://" + of + r.URL.String())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		for key, values := range resp.Header {
			w.Header()[key] = values
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestPushFromARegistryThatFails(t *testing.T) {
	b := imagetest.Blobs{}
	root := b.Image("amd64", []byte("a layer"))
	layer := b.Add(ocispec.MediaTypeImageLayer, []byte("a layer"))
	host := newRegistry(t)
	seed(t, host+"/image", b, root, "v1")
	isLayer := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, layer.Digest.String()) }
	for _, test := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request) bool
		class  image.Class
		word   string
	}{
		{"that lies", func(w http.ResponseWriter, r *http.Request) bool {
			if isLayer(r) {
				_, _ = w.Write([]byte("a liar!"))
			}
			return isLayer(r)
		}, image.Corrupt, layer.Digest.String()},
		{"that sends more", func(w http.ResponseWriter, r *http.Request) bool {
			if isLayer(r) {
				_, _ = w.Write([]byte("a layer and more"))
			}
			return isLayer(r)
		}, image.Corrupt, layer.Digest.String()},
		{"that hangs up", func(w http.ResponseWriter, r *http.Request) bool {
			if isLayer(r) {
				w.Header().Set("Content-Length", "7")
				_, _ = w.Write([]byte("a l"))
				panic(http.ErrAbortHandler)
			}
			return false
		}, image.Unavailable, layer.Digest.String()},
		{"that has lost a layer", func(w http.ResponseWriter, r *http.Request) bool {
			if isLayer(r) {
				w.WriteHeader(http.StatusNotFound)
			}
			return isLayer(r)
		}, image.NotFound, layer.Digest.String()},
		{"that wants a login", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, image.Denied, "docker login"},
		{"that forbids it", func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(http.StatusForbidden)
			return true
		}, image.Denied, "403"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("DOCKER_CONFIG", t.TempDir())
			s := newSink()
			src, err := publish.OpenSource(t.Context(), "docker://"+inFront(t, host, test.answer)+"/image:v1", publish.SourceOptions{})
			if err == nil {
				defer src.Close()
				_, err = publish.Push(t.Context(), src, s, publish.PushOptions{})
			}
			wantClass(t, err, test.class, test.word)
			if len(s.pins) != 0 {
				t.Errorf("published %v", s.pins)
			}
		})
	}
	t.Run("that has lost a platform", func(t *testing.T) {
		b := imagetest.Blobs{}
		index, _, arm64 := multi(b)
		seed(t, host+"/multi", b, index, "v1")
		lossy := inFront(t, host, func(w http.ResponseWriter, r *http.Request) bool {
			lost := strings.HasSuffix(r.URL.Path, arm64.Digest.String())
			if lost {
				w.WriteHeader(http.StatusNotFound)
			}
			return lost
		})
		result, s := push(t, "docker://"+lossy+"/multi:v1", publish.PushOptions{})
		if len(result.Missing) != 1 || result.Missing[0].Digest != arm64.Digest {
			t.Errorf("missing %v; want the manifest of arm64", result.Missing)
		}
		wantServed(t, s, result.Root, index, b, ownBlobs(b, arm64)...)
	})
	t.Run("no such image", func(t *testing.T) {
		_, err := publish.OpenSource(t.Context(), "docker://"+host+"/image:v2", publish.SourceOptions{})
		wantClass(t, err, image.NotFound, "image:v2")
	})
	t.Run("no registry", func(t *testing.T) {
		_, err := publish.OpenSource(t.Context(), "docker://127.0.0.1:1/image", publish.SourceOptions{})
		wantClass(t, err, image.Unavailable, "127.0.0.1:1")
	})
}

// TestPushUsesDockersLogin reads the credentials that "docker login" keeps.
func TestPushUsesDockersLogin(t *testing.T) {
	b := imagetest.Blobs{}
	root := b.Image("amd64", []byte("a layer"))
	host := newRegistry(t)
	seed(t, host+"/image", b, root, "v1")
	guarded := inFront(t, host, func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user == "me" && password == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	config := layoutDir(t, map[string][]byte{"config.json": imagetest.JSON(map[string]any{"auths": map[string]any{guarded: map[string]string{"auth": "bWU6c2VjcmV0"}}})})
	t.Setenv("DOCKER_CONFIG", config)
	result, s := push(t, "docker://"+guarded+"/image:v1", publish.PushOptions{})
	wantServed(t, s, result.Root, root, b)
}

// TestInsecureAllowsTLSThatNobodyVouchesFor and plain HTTP where there is none.
func TestInsecureAllowsTLSThatNobodyVouchesFor(t *testing.T) {
	b := imagetest.Blobs{}
	root := b.Image("amd64", []byte("a layer"))
	handler := registry.New()
	for name, server := range map[string]*httptest.Server{"TLS": httptest.NewTLSServer(handler), "plain HTTP": httptest.NewServer(handler)} {
		t.Run(name, func(t *testing.T) {
			defer server.Close()
			u, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			pushed, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, root)), publish.PushOptions{})
			dest, err := publish.OpenDestination(t.Context(), "docker://"+u.Host+"/image:v1", publish.DestinationOptions{Insecure: true})
			if err != nil {
				t.Fatal(err)
			}
			defer dest.Close()
			if _, err := publish.Pull(t.Context(), s.resolver(), image.Reference{Path: image.Path{Root: pushed.Root}}, dest, publish.PullOptions{}); err != nil {
				t.Fatal(err)
			}
			if src := open(t, "docker://"+u.Host+"/image:v1", publish.SourceOptions{Insecure: true}); src.Root().Digest != root.Digest {
				t.Errorf("the registry has %s; want %s", src.Root().Digest, root.Digest)
			}
		})
	}
}
