package test

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func decode(t testing.TB, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%v in %.300q", err, data)
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// hostile makes files and OCI image layouts that are not what they say. The
// ipfs command of Kubo puts them into our repository.
type hostile struct {
	t    *testing.T
	repo string
}

func (h hostile) add(path string) string {
	h.t.Helper()
	cmd := command(h.t.Context(), tool("ipfs"), "add", "-r", "-Q", "--cid-version=1", path)
	cmd.Env = append(cmd.Env, "IPFS_PATH="+h.repo)
	return lastLine(must(h.t, cmd))
}

func (h hostile) file(data []byte) string {
	h.t.Helper()
	path := filepath.Join(h.t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		h.t.Fatal(err)
	}
	return h.add(path)
}

// layout is a directory that has data as the blob of each digest, true or not.
func (h hostile) layout(root ocispec.Descriptor, blobs map[digest.Digest][]byte) string {
	h.t.Helper()
	dir := h.t.TempDir()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{root}}
	files := map[string][]byte{ocispec.ImageIndexFile: encode(h.t, index), ocispec.ImageLayoutFile: []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	for dgst, data := range blobs {
		files["blobs/sha256/"+dgst.Encoded()] = data
	}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	return h.add(dir)
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func (h hostile) manifest(config, layer ocispec.Descriptor) []byte {
	return encode(h.t, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{layer}})
}

func (h hostile) index(children ...ocispec.Descriptor) []byte {
	return encode(h.t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: children})
}

// small is an image whose manifest, config and layer are true, to be spoilt.
type small struct {
	manifest, config, layer             []byte
	manifestDesc, configDesc, layerDesc ocispec.Descriptor
}

func (h hostile) small(layer []byte) small {
	s := small{config: []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`), layer: layer}
	s.configDesc, s.layerDesc = describe(ocispec.MediaTypeImageConfig, s.config), describe(ocispec.MediaTypeImageLayer, layer)
	s.manifest = h.manifest(s.configDesc, s.layerDesc)
	s.manifestDesc = describe(ocispec.MediaTypeImageManifest, s.manifest)
	return s
}

func (s small) blobs() map[digest.Digest][]byte {
	return map[digest.Digest][]byte{s.manifestDesc.Digest: s.manifest, s.configDesc.Digest: s.config, s.layerDesc.Digest: s.layer}
}

// nested is an image below depth indexes, in nerdctl's form: there a blob is
// found by walking down, where a layout has it by its name. Each file is small,
// so one block, and its CID has the digest of its bytes.
func (h hostile) nested(s small, depth int) string {
	h.t.Helper()
	dir, n := h.t.TempDir(), 0
	put := func(data []byte, desc ocispec.Descriptor) ocispec.Descriptor {
		n++
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), data, 0o600); err != nil {
			h.t.Fatal(err)
		}
		desc.URLs = []string{"ipfs://" + rawCID(h.t, desc.Digest)}
		return desc
	}
	manifest := h.manifest(put(s.config, s.configDesc), put(s.layer, s.layerDesc))
	desc := put(manifest, describe(ocispec.MediaTypeImageManifest, manifest))
	for range depth {
		index := h.index(desc)
		desc = put(index, describe(ocispec.MediaTypeImageIndex, index))
	}
	h.add(dir)
	return h.file(encode(h.t, desc))
}

func rawCID(t testing.TB, dgst digest.Digest) string {
	t.Helper()
	sum, err := hex.DecodeString(dgst.Encoded())
	if err != nil {
		t.Fatal(err)
	}
	hash, err := multihash.Encode(sum, multihash.SHA2_256)
	if err != nil {
		t.Fatal(err)
	}
	return cid.NewCidV1(cid.Raw, hash).String()
}

func TestBadInput(t *testing.T) {
	endToEnd(t)
	h := hostile{t, tempDir(t)}
	must(t, cli(t.Context(), h.repo, "id")) // creates the repository
	random := make([]byte, 3<<20)
	if _, err := rand.NewChaCha8([32]byte{}).Read(random); err != nil {
		t.Fatal(err)
	}
	text := t.TempDir()
	if err := os.WriteFile(filepath.Join(text, "readme.txt"), []byte("no image\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := (files{"a": {[]byte("a"), 0o644}}).write(&archive); err != nil {
		t.Fatal(err)
	}
	good := h.small([]byte("a layer"))
	big := h.small(random)

	lyingManifest := good.blobs()
	lyingManifest[good.manifestDesc.Digest] = bytes.Replace(good.manifest, []byte("schemaVersion"), []byte("SchemaVersion"), 1)
	lyingConfig := good.blobs()
	lyingConfig[good.configDesc.Digest] = bytes.Replace(good.config, []byte("amd64"), []byte("arm64"), 1)
	lyingLayer := big.blobs()
	lyingLayer[big.layerDesc.Digest] = append(bytes.Clone(random[:len(random)-1]), random[len(random)-1]^1)
	shortLayer := h.small([]byte("a layer that is longer"))
	shortLayerBlobs := shortLayer.blobs()
	shortLayerBlobs[shortLayer.layerDesc.Digest] = []byte("a layer")
	lyingSize := good.manifestDesc
	lyingSize.Size++
	huge := append([]byte(`{"schemaVersion":2,"annotations":{"a":"`), append(bytes.Repeat([]byte("a"), 4<<20), `"}}`...)...)
	hugeDesc := describe(ocispec.MediaTypeImageManifest, huge)
	cyclic := describe(ocispec.MediaTypeImageIndex, []byte("a cycle"))
	turn := h.index(cyclic)
	for range 3 { // the size is in the bytes that it is the size of
		cyclic.Size = int64(len(turn))
		turn = h.index(cyclic)
	}
	missing := good.blobs()
	delete(missing, good.layerDesc.Digest)

	cases := []struct {
		name, cid, path string
		status          int
		code, says      string
	}{
		{"a directory of text", h.add(text), "manifests/latest", 404, "NAME_UNKNOWN", "directory"},
		{"a tar archive", h.file(archive.Bytes()), "manifests/latest", 404, "NAME_UNKNOWN", "tar"},
		{"random bytes", h.file(random), "manifests/latest", 404, "NAME_UNKNOWN", "binary"},
		{"2 MiB of JSON", h.file(encode(t, strings.Repeat("json ", 2<<20/5))), "manifests/latest", 404, "NAME_UNKNOWN", ""},
		{"a 2 MiB JSON object", h.file(encode(t, map[string]string{"a": strings.Repeat("json ", 2<<20/5)})), "manifests/latest", 404, "NAME_UNKNOWN", ""},
		{"an empty file", h.file(nil), "manifests/latest", 404, "NAME_UNKNOWN", "empty"},
		{"a manifest whose digest lies", h.layout(good.manifestDesc, lyingManifest), "manifests/latest", 502, "DIGEST_INVALID", good.manifestDesc.Digest.String()},
		{"a config whose digest lies", h.layout(good.manifestDesc, lyingConfig), "blobs/" + good.configDesc.Digest.String(), 502, "DIGEST_INVALID", ""},
		{"a layer of another size", h.layout(shortLayer.manifestDesc, shortLayerBlobs), "blobs/" + shortLayer.layerDesc.Digest.String(), 502, "DIGEST_INVALID", "bytes"},
		{"a descriptor whose size lies", h.layout(lyingSize, good.blobs()), "manifests/latest", 502, "DIGEST_INVALID", "bytes"},
		{"a manifest above 4 MiB", h.layout(hugeDesc, map[digest.Digest][]byte{hugeDesc.Digest: huge}), "manifests/latest", 404, "NAME_UNKNOWN", "4 MiB"},
		{"a cycle", h.layout(cyclic, map[digest.Digest][]byte{cyclic.Digest: turn}), "manifests/latest", 502, "DIGEST_INVALID", ""},
		{"a layer below eight indexes", h.nested(good, 7), "blobs/" + good.layerDesc.Digest.String(), 200, "", "a layer"},
		{"a layer below a hundred indexes", h.nested(good, 100), "blobs/" + good.layerDesc.Digest.String(), 404, "NAME_UNKNOWN", "nested"},
		{"a layer that is not there", h.layout(good.manifestDesc, missing), "blobs/" + good.layerDesc.Digest.String(), 404, "BLOB_UNKNOWN", ""},
		{"a CIDv0", "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn", "manifests/latest", 400, "NAME_INVALID", "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"},
		{"an over-long name", strings.Repeat("a", 300), "manifests/latest", 400, "NAME_INVALID", ""},
		{"no CID", "hello", "manifests/latest", 400, "NAME_INVALID", ""},
		{"a CID with a typing error", good.manifestDesc.Digest.Encoded(), "tags/list", 400, "NAME_INVALID", ""},
		{"a key for a CID", "bafzaajaiaejca4syrpdu6gdx4wsdnokxkprgzxf4wrstuc34gxw5k5jrag2so5gk", "manifests/latest", 404, "NAME_UNKNOWN", ""},
	}
	liar, sound := h.layout(big.manifestDesc, lyingLayer), h.layout(good.manifestDesc, good.blobs())
	d := serve(t, h.repo, "--fetch-timeout", "2s")
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			began := time.Now()
			a, head := request(t, "GET", d.url("%s/%s", tc.cid, tc.path)), request(t, "HEAD", d.url("%s/%s", tc.cid, tc.path))
			if a.StatusCode != tc.status || a.code() != tc.code || !strings.Contains(string(a.body), tc.says) {
				t.Errorf("%s %.500s; want %d %s with %q", a.Status, a.body, tc.status, tc.code, tc.says)
			}
			if head.StatusCode != a.StatusCode {
				t.Errorf("HEAD gave %s, GET %s", head.Status, a.Status)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	// The bytes before the lie have been sent when it is found out, so there is
	// no status left to send: the connection ends, every time.
	t.Run("a layer whose bytes lie", func(t *testing.T) {
		for range 2 {
			res, err := http.Get(d.url("%s/blobs/%s", liar, big.layerDesc.Digest))
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if err == nil || n >= big.layerDesc.Size {
				t.Errorf("%s, %d of %d bytes, %v; want a connection that is cut off", res.Status, n, big.layerDesc.Size, err)
			}
		}
	})
	// After all that, an image is served as ever.
	t.Run("a good image", func(t *testing.T) {
		a := request(t, "GET", d.url("%s/blobs/%s", sound, good.layerDesc.Digest))
		if a.StatusCode != http.StatusOK || !bytes.Equal(a.body, good.layer) {
			t.Errorf("%s %s", a.Status, a.body)
		}
	})
}

// What nobody has is told within the fetch timeout, as something that may come.
func TestUnavailable(t *testing.T) {
	endToEnd(t)
	other, limit := tempDir(t), 2*time.Second
	cid := push(t, other, testImages(t).scratch.spec())
	d := serve(t, tempDir(t), "--fetch-timeout", limit.String())
	methods, quickest := []string{"GET", "HEAD", "GET", "HEAD"}, map[string]time.Duration{} // of two: the machine may have been busy
	for _, method := range methods {
		began := time.Now()
		a := request(t, method, d.url("%s/manifests/latest", cid))
		took := time.Since(began)
		quickest[method] = min(took, cmp.Or(quickest[method], took))
		if a.StatusCode != http.StatusGatewayTimeout || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s, Retry-After %q", method, a.Status, a.Header.Get("Retry-After"))
		}
		if method == "GET" && (a.code() != "UNAVAILABLE" || !strings.Contains(string(a.body), cid)) {
			t.Errorf("the body says %s", a.body)
		}
	}
	for method, took := range quickest {
		if took > limit+time.Second {
			t.Errorf("%s took %s; want at most a second above %s", method, took, limit)
		}
	}
	if n := metric(t, d, "ipfs_registry_retrieval_failures_total"); n != float64(len(methods)) {
		t.Errorf("%v failed retrievals are counted; want one a request", n)
	}
	offline, soonest := serve(t, tempDir(t), "--offline"), time.Hour
	for range 3 {
		began := time.Now()
		a := request(t, "GET", offline.url("%s/manifests/latest", cid))
		soonest = min(soonest, time.Since(began))
		if a.StatusCode != http.StatusGatewayTimeout || !strings.Contains(string(a.body), "offline") {
			t.Errorf("offline: %s %s; want 504, and that it is", a.Status, a.body)
		}
	}
	if soonest > time.Second {
		t.Errorf("offline it took %s; want 504 at once", soonest)
	}
}

// What was tried and what to do is told in the same words to a client, by the
// verbs that need no daemon, and in the log.
func TestTheSameWordsReachEverybody(t *testing.T) {
	endToEnd(t)
	cid := push(t, tempDir(t), testImages(t).scratch.spec())
	words := []string{cid, "nothing arrived for 2s while ", "; 0 blocks with 0 bytes had arrived; pin it on a node that stays online"}
	said := func(who, text string) {
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%s says %q, without %q", who, text, w)
			}
		}
	}
	d := serve(t, tempDir(t), "--fetch-timeout", "2s")
	said("the registry", string(request(t, "GET", d.url("%s/manifests/latest", cid)).body))
	for _, w := range words {
		d.logs(t, w)
	}
	for _, verb := range [][]string{{"pull", cid, "oci:" + tempDir(t) + "/out"}, {"pin", "add", cid}} {
		out, err := cli(t.Context(), tempDir(t), append(verb, "--fetch-timeout", "2s", "--bootstrap", "none")...).CombinedOutput()
		if err == nil {
			t.Errorf("%s succeeded", verb[0])
		}
		said(verb[0], string(out))
	}
}

// A verb that fails says why in its last line, and what is wrong usage is 2.
func TestExitStatus(t *testing.T) {
	endToEnd(t)
	repo := tempDir(t)
	for _, tc := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"push"}, 2, "SOURCE"},
		{[]string{"push", "nonsense"}, 2, "nonsense"},
		{[]string{"push", "oci:/does/not/exist"}, 1, "/does/not/exist"},
		{[]string{"push", "--insecure", "docker://localhost:1/a/b"}, 1, "localhost:1"},
		{[]string{"resolve", "https://example.com/image"}, 2, "example.com"},
		{[]string{"frobnicate"}, 2, "frobnicate"},
		{[]string{"serve", "--listen", "nowhere"}, 2, "nowhere"},
	} {
		cmd := cli(t.Context(), repo, tc.args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		if last := lastLine(stderr.String()); cmd.ProcessState.ExitCode() != tc.status || !strings.Contains(last, tc.says) {
			t.Errorf("%s: %v, %q; want status %d and %q", fmt.Sprint(tc.args), err, last, tc.status, tc.says)
		}
	}
}
