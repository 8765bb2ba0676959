package registry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

// TestEveryFormIsPulledByItsName pulls as a client does: by tag, then all the
// rest by digest, whole and in parts.
func TestEveryFormIsPulledByItsName(t *testing.T) {
	w := start(t, plain)
	for _, form := range imagetest.Forms(w.store, layer, []byte("small")) {
		t.Run(form.Title, func(t *testing.T) {
			name := strings.TrimPrefix(form.Path.String(), "/")
			if form.Title == "ocipfs layer" {
				name = "layer/" + form.Path.Root.String()
			}
			url := w.url + "/v2/" + name
			wantPull(t, url, form.Tag)
			if res, body := do(t, "GET", url+"/tags/list"); res.StatusCode != 200 || string(body) != fmt.Sprintf(`{"name":%q,"tags":[%q]}`, name, form.Tag) {
				t.Errorf("tags/list: %d %s", res.StatusCode, body)
			}
		})
	}
}

// wantPull follows a manifest or index to all that it names.
func wantPull(t *testing.T, url, ref string) {
	t.Helper()
	head, _ := do(t, "HEAD", url+"/manifests/"+ref)
	res, data := do(t, "GET", url+"/manifests/"+ref)
	dgst := digest.FromBytes(data).String()
	if res.StatusCode != 200 || head.StatusCode != 200 || res.Header.Get("Docker-Content-Digest") != dgst || head.Header.Get("Docker-Content-Digest") != dgst {
		t.Fatalf("%s: %d %s, HEAD %d", ref, res.StatusCode, data, head.StatusCode)
	}
	var doc struct {
		MediaType         string
		Manifests, Layers []ocispec.Descriptor
		Config            *ocispec.Descriptor
	}
	if err := json.Unmarshal(data, &doc); err != nil || doc.MediaType != res.Header.Get("Content-Type") {
		t.Fatalf("%s is %s: %v", data, res.Header.Get("Content-Type"), err)
	}
	for _, child := range doc.Manifests {
		wantPull(t, url, child.Digest.String())
	}
	if doc.Config != nil {
		doc.Layers = append(doc.Layers, *doc.Config)
	}
	for _, desc := range doc.Layers {
		_, blob := do(t, "GET", url+"/blobs/"+desc.Digest.String())
		if digest.FromBytes(blob) != desc.Digest || int64(len(blob)) != desc.Size {
			t.Errorf("the blob %s is %d bytes of %s", desc.Digest, len(blob), digest.FromBytes(blob))
			continue
		}
		half := len(blob) / 2
		if res, part := do(t, "GET", url+"/blobs/"+desc.Digest.String(), "Range", fmt.Sprintf("bytes=%d-", half)); res.StatusCode != 206 || !bytes.Equal(part, blob[half:]) {
			t.Errorf("half of %s: %d, %d bytes", desc.Digest, res.StatusCode, len(part))
		}
	}
}

func TestTheNamesThatIPDRPrints(t *testing.T) {
	w := start(t, plain)
	b := imagetest.Blobs{}
	img := b.Image("amd64", layer)
	root := b.IPDR(w.store, img)
	name := imagetest.IPDRName(root)
	for _, name := range []string{name, "ipfs/" + name} {
		wantPull(t, w.url+"/v2/"+name, "latest")
	}
}

func TestFormsThatAreRefused(t *testing.T) {
	w := start(t, plain)
	named := imagetest.Layer(w.store, "foo-0.1.0.tar", layer, true)
	schema1 := w.store.AddFile([]byte(imagetest.Schema1))
	for url, want := range map[string]struct {
		status     int
		code, text string
	}{
		"layer/" + named.String() + "/manifests/bar-0.1.0.tar": {404, "MANIFEST_UNKNOWN", "it has the tags foo-0.1.0.tar"},
		"ipfs/" + schema1.String() + "/manifests/latest":       {404, "NAME_UNKNOWN", "schema 1"},
		"layer/" + w.root.String() + "x/manifests/latest":      {400, "NAME_INVALID", "is no CID"},
	} {
		res, body := do(t, "GET", w.url+"/v2/"+url)
		if res.StatusCode != want.status || !strings.Contains(string(body), want.code) || !strings.Contains(string(body), want.text) {
			t.Errorf("%s: %d %s; want %v", url, res.StatusCode, body, want)
		}
	}
}
