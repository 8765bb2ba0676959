package test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestDistributionSpec goes through the read side of the OCI distribution
// specification 1.1 on every image in each form: pull and content discovery.
// The specification's own conformance suite is in a module that the module proxy
// does not have.
func TestDistributionSpec(t *testing.T) {
	p := publishedImages(t)
	if a := request(t, "GET", "http://"+p.host+"/v2/"); a.StatusCode != http.StatusOK {
		t.Errorf("/v2/: %s", a.Status)
	}
	p.forEach(t, []string{"real", "multi", "artifact", "scratch"}, func(t *testing.T, _, name string) {
		cid := name[strings.LastIndex(name, "/")+1:]
		root := p.descriptor(t, cid, "latest")
		p.checkManifest(t, cid, "latest", root)
		p.checkManifest(t, cid, root.Digest.String(), root)
		for _, desc := range p.children(t, cid, root) {
			if desc.MediaType == ocispec.MediaTypeImageManifest || desc.MediaType == ocispec.MediaTypeImageIndex {
				p.checkManifest(t, cid, desc.Digest.String(), desc)
			} else {
				p.checkBlob(t, cid, desc)
			}
		}
		absent := digest.FromString("nobody has this")
		for path, want := range map[string]struct {
			status int
			code   string
		}{
			"manifests/" + absent.String():      {404, "MANIFEST_UNKNOWN"},
			"manifests/no-such-tag":             {404, "MANIFEST_UNKNOWN"},
			"blobs/" + absent.String():          {404, "BLOB_UNKNOWN"},
			"blobs/sha256:short":                {400, "DIGEST_INVALID"},
			"manifests/sha256:short":            {400, "DIGEST_INVALID"},
			"referrers/sha256:short":            {400, "DIGEST_INVALID"},
			"manifests/.no-tag":                 {400, "MANIFEST_INVALID"},
			"manifests/" + repeated("a", 129):   {400, "MANIFEST_INVALID"},
			"blobs/sha256:" + repeated("g", 64): {400, "DIGEST_INVALID"},
		} {
			for _, method := range []string{"GET", "HEAD"} {
				a := request(t, method, p.url("%s/%s", cid, path))
				if a.StatusCode != want.status || (method == "GET" && a.code() != want.code) {
					t.Errorf("%s %s: %s %s; want %d %s", method, path, a.Status, a.body, want.status, want.code)
				}
			}
		}
	})
}

func repeated(s string, n int) string { return strings.Repeat(s, n) }

// children are the descriptors that a manifest or index names.
func (p *published) children(t testing.TB, cid string, desc ocispec.Descriptor) []ocispec.Descriptor {
	t.Helper()
	a := request(t, "GET", p.url("%s/manifests/%s", cid, desc.Digest))
	var m struct {
		Config            *ocispec.Descriptor
		Layers, Manifests []ocispec.Descriptor
	}
	decode(t, a.body, &m)
	all := append(m.Manifests, m.Layers...)
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	return all
}

func (p *published) checkManifest(t *testing.T, cid, ref string, desc ocispec.Descriptor) {
	t.Helper()
	url := p.url("%s/manifests/%s", cid, ref)
	get, head := request(t, "GET", url), request(t, "HEAD", url)
	if get.StatusCode != http.StatusOK || digest.FromBytes(get.body) != desc.Digest {
		t.Errorf("%s: %s with the digest %s; want %s", url, get.Status, digest.FromBytes(get.body), desc.Digest)
	}
	checkHeaders(t, url, desc, get, head)
}

func (p *published) checkBlob(t *testing.T, cid string, desc ocispec.Descriptor) {
	t.Helper()
	url := p.url("%s/blobs/%s", cid, desc.Digest)
	get, head := request(t, "GET", url), request(t, "HEAD", url)
	if get.StatusCode != http.StatusOK || digest.FromBytes(get.body) != desc.Digest {
		t.Errorf("%s: %s with the digest %s", url, get.Status, digest.FromBytes(get.body))
	}
	desc.MediaType = ""
	checkHeaders(t, url, desc, get, head)
	if got := get.Header.Get("Accept-Ranges"); got != "bytes" {
		t.Errorf("%s: Accept-Ranges %q", url, got)
	}
	if size := int64(len(get.body)); size > 10 {
		part := request(t, "GET", url, "Range", fmt.Sprintf("bytes=%d-%d", size/2, size-2))
		if part.StatusCode != http.StatusPartialContent || !bytes.Equal(part.body, get.body[size/2:size-1]) {
			t.Errorf("%s: a range gave %s and %d bytes", url, part.Status, len(part.body))
		}
	}
}

func checkHeaders(t *testing.T, url string, desc ocispec.Descriptor, answers ...answer) {
	t.Helper()
	for _, a := range answers {
		want := map[string]string{
			"Docker-Content-Digest": desc.Digest.String(),
			"Etag":                  `"` + desc.Digest.String() + `"`,
			"Content-Length":        fmt.Sprint(desc.Size),
			"Content-Type":          desc.MediaType,
		}
		for key, value := range want {
			if got := a.Header.Get(key); got == "" || (value != "" && got != value) {
				t.Errorf("%s %s: %s is %q; want %q", a.Request.Method, url, key, got, value)
			}
		}
	}
}

func TestTags(t *testing.T) {
	p := publishedImages(t)
	p.forEach(t, []string{"real"}, func(t *testing.T, _, name string) {
		var all struct {
			Name string
			Tags []string
		}
		cid := name[strings.LastIndex(name, "/")+1:]
		decode(t, request(t, "GET", p.url("%s/tags/list", cid)).body, &all)
		if all.Name != "ipfs/"+cid || len(all.Tags) == 0 {
			t.Fatalf("tags/list: %+v", all)
		}
		for _, tag := range all.Tags {
			p.descriptor(t, cid, tag)
		}
		a := request(t, "GET", p.url("%s/tags/list?n=0", cid))
		if all.Tags = nil; a.Header.Get("Link") != "" {
			t.Errorf("n=0 has a Link: %s", a.Header.Get("Link"))
		}
		if decode(t, a.body, &all); len(all.Tags) != 0 {
			t.Errorf("n=0 lists %q", all.Tags)
		}
	})
}

// Who refers to an image, sbom and signature, travels with it.
func TestReferrers(t *testing.T) {
	p, images := publishedImages(t), testImages(t)
	cid, subject := p.layouts["artifact"], images.artifact.desc.Digest
	list := func(query string) (index ocispec.Index, a answer) {
		a = request(t, "GET", p.url("%s/referrers/%s%s", cid, subject, query))
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != ocispec.MediaTypeImageIndex {
			t.Errorf("referrers%s: %s, %s", query, a.Status, a.Header.Get("Content-Type"))
		}
		decode(t, a.body, &index)
		return index, a
	}
	if all, _ := list(""); len(all.Manifests) != 2 {
		t.Errorf("%d referrers; want sbom and signature", len(all.Manifests))
	}
	sboms, a := list("?artifactType=application/vnd.example.sbom")
	if len(sboms.Manifests) != 1 || a.Header.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("%d sboms, filters applied: %q", len(sboms.Manifests), a.Header.Get("OCI-Filters-Applied"))
	}
	for _, desc := range sboms.Manifests {
		if desc.ArtifactType != "application/vnd.example.sbom" {
			t.Errorf("the sbom is a %q", desc.ArtifactType)
		}
		p.checkManifest(t, cid, desc.Digest.String(), desc)
	}
	a = request(t, "GET", p.url("%s/referrers/%s", p.layouts["scratch"], digest.FromString("nobody")))
	var none ocispec.Index
	if decode(t, a.body, &none); a.StatusCode != http.StatusOK || none.Manifests == nil || len(none.Manifests) != 0 {
		t.Errorf("of nobody: %s %s", a.Status, a.body)
	}
}

func TestRanges(t *testing.T) {
	p, images := publishedImages(t), testImages(t)
	l := images.real.manifest(t).Layers[0]
	want, err := os.Open(images.real.blob(l.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	url := p.url("%s/blobs/%s", p.layouts["real"], l.Digest)

	t.Run("beyond the end", func(t *testing.T) {
		a := request(t, "GET", url, "Range", fmt.Sprintf("bytes=%d-", l.Size))
		if a.StatusCode != http.StatusRequestedRangeNotSatisfiable || a.Header.Get("Content-Range") != fmt.Sprintf("bytes */%d", l.Size) {
			t.Errorf("%s, Content-Range %q", a.Status, a.Header.Get("Content-Range"))
		}
	})
	t.Run("the tail", func(t *testing.T) {
		a := request(t, "GET", url, "Range", "bytes=-100")
		checkPart(t, want, l.Size-100, a.body)
	})
	t.Run("of another version", func(t *testing.T) {
		a := request(t, "GET", url, "Range", "bytes=0-9", "If-Range", `"sha256:other"`)
		if a.StatusCode != http.StatusOK || int64(len(a.body)) != l.Size {
			t.Errorf("%s with %d bytes; want the whole", a.Status, len(a.body))
		}
	})
	t.Run("1024 in one request", func(t *testing.T) {
		random, header, starts := rand.New(rand.NewPCG(1, 2)), []string{}, []int64{}
		for range 1024 {
			at := random.Int64N(l.Size - 1000)
			starts = append(starts, at)
			header = append(header, fmt.Sprintf("%d-%d", at, at+999))
		}
		a := request(t, "GET", url, "Range", "bytes="+strings.Join(header, ","))
		mediaType, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
		if a.StatusCode != http.StatusPartialContent || err != nil || mediaType != "multipart/byteranges" {
			t.Fatalf("%s, %s (%v)", a.Status, mediaType, err)
		}
		parts := multipart.NewReader(bytes.NewReader(a.body), params["boundary"])
		for i, at := range starts {
			part, err := parts.NextPart()
			if err != nil {
				t.Fatalf("part %d: %v", i, err)
			}
			got, err := io.ReadAll(part)
			if err != nil || len(got) != 1000 {
				t.Fatalf("part %d has %d bytes: %v", i, len(got), err)
			}
			checkPart(t, want, at, got)
		}
		if _, err := parts.NextPart(); err != io.EOF {
			t.Errorf("after the last part: %v", err)
		}
	})
}

func checkPart(t *testing.T, of io.ReaderAt, at int64, got []byte) {
	t.Helper()
	want := make([]byte, len(got))
	if _, err := of.ReadAt(want, at); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes at %d are others (%v)", len(got), at, err)
	}
}

// Nothing can be written, whatever a client tries.
func TestPushVerbs(t *testing.T) {
	p := publishedImages(t)
	cid, dgst := p.layouts["scratch"], digest.FromString("x")
	for _, tc := range []struct{ method, path string }{
		{"POST", "blobs/uploads/"}, {"POST", "blobs/uploads/?mount=" + dgst.String() + "&from=other"},
		{"PATCH", "blobs/uploads/1"}, {"PUT", "blobs/uploads/1?digest=" + dgst.String()},
		{"PUT", "manifests/latest"}, {"PUT", "manifests/" + dgst.String()}, {"POST", "manifests/latest"},
		{"DELETE", "manifests/latest"}, {"DELETE", "blobs/" + dgst.String()}, {"DELETE", "tags/list"},
	} {
		a := request(t, tc.method, p.url("%s/%s", cid, tc.path))
		if a.StatusCode != http.StatusMethodNotAllowed || a.code() != "UNSUPPORTED" || a.Header.Get("Allow") == "" {
			t.Errorf("%s %s: %s %s, Allow %q; want 405 UNSUPPORTED", tc.method, tc.path, a.Status, a.body, a.Header.Get("Allow"))
		}
	}
}
