package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/registry"
)

// pointers is a system of names that are moved by hand.
type pointers struct {
	mu  sync.Mutex
	to  map[string]image.Path
	err error
}

func (p *pointers) ResolveName(_ context.Context, name string) (image.Pointer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to, ok := p.to[name]
	if !ok && p.err == nil {
		return image.Pointer{}, &image.Error{Class: image.Unavailable, Op: "resolve " + name, Err: errors.New("nobody knows it")}
	}
	return image.Pointer{Path: to}, p.err
}

// move has images.example lead to another place, or to nowhere.
func (p *pointers) move(to cid.Cid, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to["images.example"], p.err = image.Path{Root: to}, err
}

// names is a registry with names that move and two versions of an image.
type names struct {
	*pointers
	url      string
	store    *imagetest.Store
	old, new cid.Cid
	oldDesc  ocispec.Descriptor
	newDesc  ocispec.Descriptor
	oldSig   ocispec.Descriptor
}

func startNames(t *testing.T, mirror func(*names) *registry.Mirror) *names {
	t.Helper()
	n := &names{pointers: &pointers{to: map[string]image.Path{}}, store: imagetest.NewStore()}
	blobs := imagetest.Blobs{}
	n.oldDesc = blobs.Image("amd64", []byte("base"), []byte("old layer"))
	n.oldSig = blobs.Artifact(n.oldDesc, "text/sig", []byte("sig of the old"))
	n.old = blobs.Layout(n.store, nil, imagetest.Tagged(n.oldDesc, "v1"), n.oldSig)
	blobs = imagetest.Blobs{}
	n.newDesc = blobs.Image("amd64", []byte("base"), []byte("new layer"))
	n.new = blobs.Layout(n.store, nil, imagetest.Tagged(n.newDesc, "v1"))
	o := registry.Options{Names: image.NewNames(n, dssync.MutexWrap(datastore.NewMapDatastore()), nil)}
	if mirror != nil {
		o.Mirror = mirror(n)
	}
	s := httptest.NewServer(registry.New(plain(n.store), o))
	t.Cleanup(s.Close)
	n.url = s.URL + "/v2/"
	return n
}

func (n *names) wantDigest(t *testing.T, url string, want digest.Digest) *http.Response {
	t.Helper()
	res, body := do(t, "GET", url)
	if res.StatusCode != 200 || digest.FromBytes(body) != want {
		t.Errorf("%s: %d, %s; want %s", url, res.StatusCode, body, want)
	}
	return res
}

// A pull that began before the name moved ends with the version that it began
// with; the next one gets the new version.
func TestNameMovesDuringPulls(t *testing.T) {
	n := startNames(t, nil)
	url := n.url + "ipns/images.example/"
	n.move(n.old, nil)
	if res := n.wantDigest(t, url+"manifests/v1", n.oldDesc.Digest); strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
		t.Error("a tag of a name that moves is told to be immutable")
	}
	n.move(n.new, nil)
	n.wantDigest(t, url+"manifests/v1", n.newDesc.Digest)
	n.wantDigest(t, url+"manifests/"+n.oldDesc.Digest.String(), n.oldDesc.Digest)
	for _, blob := range []string{"base", "old layer", "new layer"} {
		n.wantDigest(t, url+"blobs/"+digest.FromString(blob).String(), digest.FromString(blob))
	}
	var index ocispec.Index
	_, body := do(t, "GET", url+"referrers/"+n.oldDesc.Digest.String())
	if err := json.Unmarshal(body, &index); err != nil || len(index.Manifests) != 1 || index.Manifests[0].Digest != n.oldSig.Digest {
		t.Errorf("referrers of the old version: %s", body)
	}
	if res, body := do(t, "GET", url+"blobs/"+digest.FromString("nowhere").String()); res.StatusCode != 404 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, body := do(t, "GET", url+"tags/list"); res.StatusCode != 200 || !strings.Contains(string(body), `{"name":"ipns/images.example","tags":["v1"]}`) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	// What can't be had of the new version does not keep the old from ending.
	n.store.Remove(n.new)
	n.wantDigest(t, url+"blobs/"+digest.FromString("old layer").String(), digest.FromString("old layer"))
}

// Many pulls while the name goes to and fro: each gets one version whole.
func TestPullsNeverMixVersions(t *testing.T) {
	n := startNames(t, nil)
	n.move(n.old, nil)
	url := n.url + "ipns/images.example/"
	stop := make(chan struct{})
	var moving sync.WaitGroup
	moving.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				n.move([]cid.Cid{n.old, n.new}[i%2], nil)
			}
		}
	})
	var pulls sync.WaitGroup
	for range 4 {
		pulls.Go(func() {
			for range 25 {
				res, body := do(t, "GET", url+"manifests/v1")
				if res.StatusCode != 200 {
					t.Errorf("%d %s", res.StatusCode, body)
				}
				wantPull(t, url[:len(url)-1], digest.FromBytes(body).String())
			}
		})
	}
	pulls.Wait()
	close(stop)
	moving.Wait()
}

func TestNameWarnsWhenStale(t *testing.T) {
	n := startNames(t, nil)
	url := n.url + "ipns/images.example/"
	n.move(n.old, nil)
	if res := n.wantDigest(t, url+"manifests/v1", n.oldDesc.Digest); res.Header.Get("Warning") != "" {
		t.Errorf("Warning: %s", res.Header.Get("Warning"))
	}
	n.move(n.new, errors.New("the \"DNS\" is\ndown"+strings.Repeat("!", 5000)))
	for _, what := range []string{"manifests/v1", "tags/list"} {
		res, _ := do(t, "GET", url+what)
		warning := res.Header.Get("Warning")
		if res.StatusCode != 200 || !strings.HasPrefix(warning, `299 - "/ipns/images.example could not be resolved again; this is what it led to at `) ||
			!strings.Contains(warning, `the 'DNS' is down`) || len(warning) > 4096 {
			t.Errorf("%s: %d, Warning: %s", what, res.StatusCode, warning)
		}
	}
	if res, body := do(t, "GET", n.url+"ipns/nobody.example/manifests/v1"); res.StatusCode != 500 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestNamesOff(t *testing.T) {
	w := start(t, plain)
	if res, body := do(t, "GET", w.url+"/v2/ipns/images.example/manifests/v1"); res.StatusCode != 403 || !strings.Contains(string(body), "names that move are off") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, body := do(t, "GET", startNames(t, nil).url+"ipns/garbage/manifests/v1"); res.StatusCode != 400 || !strings.Contains(string(body), "NAME_INVALID") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// kept is what is kept of names.
type kept map[digest.Digest]image.Path

func (k kept) Find(_ context.Context, dgst digest.Digest) (image.Path, error) {
	if p, ok := k[dgst]; ok {
		return p, nil
	}
	return image.Path{}, &image.Error{Class: image.NotFound, Op: "find it", Err: errors.New("it is not kept")}
}

func startMirror(t *testing.T) *names {
	return startNames(t, func(n *names) *registry.Mirror {
		old := image.Path{Root: n.old}
		return &registry.Mirror{
			Kept: kept{n.oldDesc.Digest: old, digest.FromString("old layer"): old, digest.FromString("lost"): {Root: n.store.AddDir(map[string]cid.Cid{"x": n.old})}},
			Here: plain(n.store),
			Names: map[string]image.Reference{
				"docker.io/library/nginx:alpine": {Path: image.Path{Root: n.new}, Tag: "v1"},
				"docker.io/library/nginx:pinned": {Path: image.Path{Root: n.new}, Digest: n.newDesc.Digest},
				"quay.example/team/app:latest":   {Moving: image.Moving{Name: "images.example"}, Tag: "v1"},
			},
		}
	})
}

func TestMirror(t *testing.T) {
	n := startMirror(t)
	n.move(n.old, nil)
	old, layer := n.oldDesc.Digest.String(), digest.FromString("old layer")
	for _, ns := range []string{"", "?ns=docker.io", "?ns=registry.example:5000"} {
		n.wantDigest(t, n.url+"any/name/manifests/"+old+ns, n.oldDesc.Digest)
		n.wantDigest(t, n.url+"library/other/blobs/"+layer.String()+ns, layer)
	}
	for _, tag := range []string{"alpine", "pinned"} {
		for _, ns := range []string{"", "?ns=docker.io"} {
			res := n.wantDigest(t, n.url+"library/nginx/manifests/"+tag+ns, n.newDesc.Digest)
			if strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
				t.Error("a tag is told to be immutable")
			}
		}
	}
	n.wantDigest(t, n.url+"library/nginx/manifests/"+n.newDesc.Digest.String()+"?ns=docker.io", n.newDesc.Digest)
	n.wantDigest(t, n.url+"library/nginx/blobs/"+digest.FromString("new layer").String()+"?ns=docker.io", digest.FromString("new layer"))
	n.wantDigest(t, n.url+"team/app/manifests/latest?ns=quay.example", n.oldDesc.Digest)
	n.wantDigest(t, n.url+"team/app/blobs/"+digest.FromString("base").String()+"?ns=quay.example", digest.FromString("base"))
	if res, body := do(t, "GET", n.url+"library/nginx/tags/list?ns=docker.io"); res.StatusCode != 200 || string(body) != `{"name":"library/nginx","tags":["alpine","pinned"]}` {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// All else is 404 at once, for the client to ask the next host, and without
// opening anything.
func TestMirrorKnowsNoMore(t *testing.T) {
	n := startMirror(t)
	before, began := n.store.Opened, time.Now()
	for url, code := range map[string]string{
		"library/nginx/manifests/other":                                               "MANIFEST_UNKNOWN",
		"library/nginx/manifests/" + n.newDesc.Digest.String():                        "MANIFEST_UNKNOWN",
		"library/nginx/blobs/" + digest.FromString("new layer").String():              "BLOB_UNKNOWN",
		"library/nginx/referrers/" + n.newDesc.Digest.String():                        "NAME_UNKNOWN",
		"library/other/manifests/alpine":                                              "MANIFEST_UNKNOWN",
		"library/other/tags/list":                                                     "NAME_UNKNOWN",
		"ipfs/kubo/manifests/latest":                                                  "MANIFEST_UNKNOWN",
		"ipns/kubo/manifests/latest":                                                  "MANIFEST_UNKNOWN",
		strings.Repeat("long/", 40) + "name/blobs/" + digest.FromString("x").String(): "BLOB_UNKNOWN",
	} {
		if res, body := do(t, "GET", n.url+url+"?ns=docker.io"); res.StatusCode != 404 || !strings.Contains(string(body), code) {
			t.Errorf("%s: %d %s; want 404 %s", url, res.StatusCode, body, code)
		}
	}
	if n.store.Opened != before {
		t.Errorf("%d files were opened in %s", n.store.Opened-before, time.Since(began))
	}
	for url, status := range map[string]int{
		"library/nginx/manifests/.x?ns=docker.io":                                     400,
		"library/nginx/blobs/sha256:abc?ns=docker.io":                                 400,
		"LIBRARY/nginx/manifests/alpine?ns=docker.io":                                 400,
		"library/nginx/manifests/other":                                               400, // nobody said that it is a mirror's
		"library/nginx/blobs/" + digest.FromString("lost").String() + "?ns=docker.io": 404,
	} {
		if res, body := do(t, "GET", n.url+url); res.StatusCode != status {
			t.Errorf("%s: %d %s; want %d", url, res.StatusCode, body, status)
		}
	}
}
