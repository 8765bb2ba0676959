package pin_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/pin"
	"github.com/ipfs-registry/ipfs-registry/pin/pintest"
)

// host is a keeper with all that it needs.
type host struct {
	*pin.Keeper
	node   *pintest.Node
	store  *pintest.Store
	images *image.Resolver
}

func newHost(o pin.Options) *host {
	h := &host{node: pintest.NewNode(), store: pintest.NewStore()}
	h.restart(o)
	return h
}

// restart forgets all that is not in the store or the node.
func (h *host) restart(o pin.Options) {
	h.images = image.NewResolver(h.node, dssync.MutexWrap(datastore.NewMapDatastore()), image.ResolverOptions{})
	h.Keeper = pin.New(h.images, h.node, h.store, o)
}

// add keeps an image, which has to succeed.
func (h *host) add(t *testing.T, r pin.Request) *pin.Image {
	t.Helper()
	i, err := h.Add(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (h *host) collect(t *testing.T) pin.Freed {
	t.Helper()
	freed, err := h.Collect(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return freed
}

func (h *host) list(t *testing.T) []*pin.Image {
	t.Helper()
	return listed(t, h)
}

func listed(t *testing.T, s pin.Service) (all []*pin.Image) {
	t.Helper()
	for i, err := range s.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, i)
	}
	return all
}

// readable reads an image whole, with the network cut off and nothing in memory.
func (h *host) readable(t *testing.T, p image.Path, ref string) error {
	t.Helper()
	h.node.Offline = true
	defer func() { h.node.Offline = false }()
	images := image.NewResolver(h.node, datastore.NewMapDatastore(), image.ResolverOptions{})
	return readAll(t, images, p, ref)
}

func readAll(t *testing.T, images pin.Images, p image.Path, ref string) error {
	t.Helper()
	c, err := images.Manifest(t.Context(), p, ref)
	if err != nil {
		return err
	}
	defer c.Close()
	var m struct {
		Config            ocispec.Descriptor
		Layers, Manifests []ocispec.Descriptor
	}
	data, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	decode(t, data, &m)
	for _, child := range m.Manifests {
		if err := readAll(t, images, p, child.Digest.String()); err != nil {
			return err
		}
	}
	if m.Config.Digest == "" {
		return nil
	}
	for _, desc := range append(m.Layers, m.Config) {
		if err := readBlob(t, images, p, desc.Digest); err != nil {
			return err
		}
	}
	return nil
}

func readBlob(t *testing.T, images pin.Images, p image.Path, dgst digest.Digest) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, err := images.Blob(ctx, p, dgst)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(io.Discard, c)
	return err
}

// layout stores an image of its own as a layout.
func (h *host) layout(layers ...string) (cid.Cid, ocispec.Descriptor) {
	b := imagetest.Blobs{}
	var all [][]byte
	for _, l := range layers {
		all = append(all, []byte(l))
	}
	img := b.Image("amd64", all...)
	return b.Layout(h.node, nil, imagetest.Tagged(img, "v1")), img
}

// multi stores an image of two platforms, and a signature of one of them, in
// the form that put makes.
func (h *host) multi(put func(b imagetest.Blobs, index ocispec.Descriptor, more ...ocispec.Descriptor) cid.Cid) (root cid.Cid, amd, arm, signature ocispec.Descriptor) {
	b := imagetest.Blobs{}
	amd, arm = b.Image("amd64", []byte("shared"), []byte("for amd64")), b.Image("arm64", []byte("shared"), []byte("for arm64"))
	signature = b.Artifact(arm, "application/vnd.example.signature", []byte("signed"))
	return put(b, b.Index(amd, arm), signature), amd, arm, signature
}

// client reaches the keeper of h as another process does.
func (h *host) client(t *testing.T) *pin.Client {
	t.Helper()
	server := httptest.NewServer(pin.Handler(h.Keeper))
	t.Cleanup(server.Close)
	there, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return pin.NewClient(&http.Client{Transport: redirected{there}})
}

// redirected sends every request to one server.
type redirected struct{ to *url.URL }

func (r redirected) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Host = r.to.Host
	return http.DefaultTransport.RoundTrip(req)
}
