package publish_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// gzipped adds an image whose layers are gzip.
func gzipped(b imagetest.Blobs, layers ...string) ocispec.Descriptor {
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, text := range layers {
		var data bytes.Buffer
		w := gzip.NewWriter(&data)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		m.Layers = append(m.Layers, b.Add(ocispec.MediaTypeImageLayerGzip, data.Bytes()))
	}
	m.Config = b.AddJSON(ocispec.MediaTypeImageConfig, ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "arm64"}, Config: ocispec.ImageConfig{Env: []string{"A=b"}}})
	return b.AddJSON(ocispec.MediaTypeImageManifest, m)
}

func shelveSchema1(t *testing.T, s *sink, b imagetest.Blobs, name string, into cid.Cid, root ocispec.Descriptor) (publish.Result, error) {
	t.Helper()
	o := publish.PushOptions{Format: "static", Name: name, Schema1: true}
	if into.Defined() {
		o.Into = &publish.Base{Source: s.store, Root: into}
	}
	return publish.Push(t.Context(), open(t, "oci:"+layoutDir(t, layoutFiles(b, root)), publish.SourceOptions{}), s, o)
}

func TestSchema1(t *testing.T) {
	s, b := newSink(), imagetest.Blobs{}
	img := gzipped(b, "below", "above")
	r, err := shelveSchema1(t, s, b, "team/app:v1", cid.Undef, img)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := shelveSchema1(t, newSink(), b, "team/app:v1", cid.Undef, img); err != nil || again.Root != r.Root {
		t.Errorf("again it is %s, %v; want %s", again.Root, err, r.Root)
	}
	data, c := fileAt(t, s, r.Root, "v2/team/app/manifests/v1-schema1")
	payload := wantSigned(t, data)
	if _, byDigest := fileAt(t, s, r.Root, "v2/team/app/manifests/"+digest.FromBytes(payload).String()); byDigest != c {
		t.Errorf("by its digest it is %s, by its tag %s", byDigest, c)
	}
	var doc struct {
		Name, Tag, Architecture string
		FSLayers                []struct{ BlobSum digest.Digest }
		History                 []struct{ V1Compatibility string }
	}
	if err := json.Unmarshal(payload, &doc); err != nil || len(doc.FSLayers) != 2 || len(doc.History) != 2 {
		t.Fatalf("%s, %v", payload, err)
	}
	var m ocispec.Manifest
	var above, below struct{ ID, Parent string }
	var config struct{ Config struct{ Env []string } }
	for text, into := range map[string]any{string(b[img.Digest]): &m, doc.History[0].V1Compatibility: &above, doc.History[1].V1Compatibility: &below} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	if err := json.Unmarshal([]byte(doc.History[0].V1Compatibility), &config); err != nil || !slices.Equal(config.Config.Env, []string{"A=b"}) {
		t.Errorf("the topmost layer has the config %+v, %v", config, err)
	}
	if doc.Name != "team/app" || doc.Architecture != "arm64" || doc.FSLayers[0].BlobSum != m.Layers[1].Digest || doc.FSLayers[1].BlobSum != m.Layers[0].Digest ||
		above.Parent != below.ID || below.Parent != "" || above.ID == below.ID {
		t.Errorf("%+v, %+v, %+v", doc, above, below)
	}
	if list, _ := fileAt(t, s, r.Root, "v2/team/app/tags/list"); string(list) != `{"name":"team/app","tags":["v1","v1-schema1"]}` {
		t.Errorf("%s", list)
	}

	// What is in a registry already gets one too, where it can.
	other := imagetest.Blobs{}
	both, err := shelveSchema1(t, s, other, "other", shelve(t, s, b, "team/app:v1", cid.Undef, img).Root, gzipped(other, "x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, kept := fileAt(t, s, both.Root, "v2/team/app/manifests/v1-schema1"); kept != c {
		t.Errorf("added later it is %s; want %s", kept, c)
	}
}

// wantSigned checks a signature as a client does, and returns what is signed.
func wantSigned(t *testing.T, data []byte) []byte {
	t.Helper()
	var doc struct {
		Signatures []struct {
			Header struct {
				JWK struct{ X, Y string }
			}
			Signature, Protected string
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil || len(doc.Signatures) != 1 {
		t.Fatalf("%s: %v", data, err)
	}
	b64 := func(s string) []byte {
		raw, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	sig := doc.Signatures[0]
	var protected struct {
		FormatLength int
		FormatTail   string
	}
	if err := json.Unmarshal(b64(sig.Protected), &protected); err != nil {
		t.Fatal(err)
	}
	payload := fmt.Appendf(nil, "%s%s", data[:protected.FormatLength], b64(protected.FormatTail))
	key := ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).SetBytes(b64(sig.Header.JWK.X)), Y: new(big.Int).SetBytes(b64(sig.Header.JWK.Y))}
	sum := sha256.Sum256([]byte(sig.Protected + "." + base64.RawURLEncoding.EncodeToString(payload)))
	raw := b64(sig.Signature)
	if !ecdsa.Verify(&key, sum[:], new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])) {
		t.Error("the signature is not of what it is beside")
	}
	return payload
}

func TestSchema1Refuses(t *testing.T) {
	b := imagetest.Blobs{}
	index, _, _ := multi(b)
	for name, root := range map[string]ocispec.Descriptor{"an index of 2 manifests": index, "a layer of the media type": b.Image("amd64", []byte("plain"))} {
		_, err := shelveSchema1(t, newSink(), b, "app:v1", cid.Undef, root)
		t.Run(name, func(t *testing.T) { wantClass(t, err, image.Malformed, name) })
	}
}
