package image_test

import (
	"strings"
	"testing"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	v1   = "bafkreicq4dg6nkef5ju422ptedcwfz6kcvpvvhuqeykfrwq5krazf3muze"
	v0   = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
	v0v1 = "bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y"
	ciq  = "ciql7tg2pb52xizllhdyiufmhuqlmmzwbnbzsldxfcpz5vdnqq2wdzq" // of v0
	dgst = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func TestParseReference(t *testing.T) {
	for in, want := range map[string]struct{ path, ref string }{
		v1:                                 {"/ipfs/" + v1, "latest"},
		"ipfs://" + v1:                     {"/ipfs/" + v1, "latest"},
		"/ipfs/" + v1:                      {"/ipfs/" + v1, "latest"},
		"localhost:5050/ipfs/" + v1 + ":a": {"/ipfs/" + v1, "a"},
		"127.0.0.1/ipfs/" + v1:             {"/ipfs/" + v1, "latest"},
		"[::1]:5050/ipfs/" + v1:            {"/ipfs/" + v1, "latest"},
		"ipfs://" + v1 + "/a/b:v1@" + dgst: {"/ipfs/" + v1 + "/a/b", dgst},
		v1 + "@" + dgst:                    {"/ipfs/" + v1, dgst},
		strings.ToUpper(v1):                {"/ipfs/" + v1, "latest"},
		"localhost:5050/layer/" + v1 + ":foo-0.1.0.tar.gz": {"/ipfs/" + v1, "foo-0.1.0.tar.gz"},
		"/layer/" + v1:                      {"/ipfs/" + v1, "latest"},
		ciq:                                 {"/ipfs/" + v0v1, "latest"},
		"localhost:5050/" + ciq + ":v1":     {"/ipfs/" + v0v1, "v1"},
		"localhost:5050/ipfs/" + ciq + "/x": {"/ipfs/" + v0v1 + "/x", "latest"},
	} {
		ref, err := image.ParseReference(in)
		if err != nil || ref.Path.String() != want.path || ref.Ref() != want.ref {
			t.Errorf("%s: %s, %s, %v; want %v", in, ref.Path, ref.Ref(), err, want)
		}
	}
	if ref, err := image.ParseReference("ipfs://" + v0); err != nil || ref.Path.Root.Version() != 1 {
		t.Errorf("a CIDv0 is not read as its CIDv1: %v, %v", ref, err)
	}
}

func TestParseReferenceRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "is no CID",
		"alpine:latest":                "\"alpine\" is no CID",
		"docker.io/library/alpine":     "is no CID",
		"https://example.com/x":        "a URL is read only as",
		"ftp://example.com/ipfs/" + v1: "the scheme \"ftp\" is not read",
		"example.com/ipfs/" + v1:       "\"example.com\" is no CID",
		"ipfs://" + v1 + ":.x":         "is no tag",
		"ipfs://" + v1 + "@sha256:abc": "read the digest",
		"ipfs://" + v1 + "/../x":       "is no path",
		"ipfs://" + v1 + "//x":         "is no path",
		"ipfs://" + v1 + "/\xff":       "is no path in UTF-8",
		"localhost:5050/alpine":        "\"localhost:5050\" is no CID",
		"example.com/layer/" + v1:      "\"example.com\" is no CID",
		ciq[:54]:                       "is no CID",
	} {
		_, err := image.ParseReference(in)
		if image.ClassOf(err) != image.Malformed || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "; write ipfs://") {
			t.Errorf("%q: %v; want the class Malformed and %q", in, err, want)
		}
	}
}

func TestParseName(t *testing.T) {
	p, err := image.ParseName("ipfs/" + v1 + "/library/nginx")
	if err != nil || p.String() != "/ipfs/"+v1+"/library/nginx" {
		t.Errorf("%s, %v", p, err)
	}
	for in, want := range map[string]string{"ipfs/" + ciq: v0v1, ciq: v0v1, ciq + "/app": v0v1 + "/app", "layer/" + v1: v1} {
		if p, err := image.ParseName(in); err != nil || p.String() != "/ipfs/"+want {
			t.Errorf("%s: %s, %v; want /ipfs/%s", in, p, err, want)
		}
	}
	for in, want := range map[string]string{
		ciq[:54]:                                 "it does not begin with ipfs/",
		ciq + "x":                                "it does not begin with ipfs/",
		ciq + "/UPPER":                           "is no CID",
		"layer/" + v0:                            "use layer/bafybei",
		"library/alpine":                         "it does not begin with ipfs/",
		"ipfs/" + v0:                             "use ipfs/bafybei",
		"ipfs/" + strings.ToUpper(v1):            "use ipfs/" + v1,
		"ipfs/garbage":                           "is no CID",
		"ipfs/" + v1 + "/UPPER":                  "grammar",
		"ipfs/" + v1 + "/..":                     "grammar",
		"ipfs/" + v1 + "/":                       "grammar",
		"ipfs/" + v1 + strings.Repeat("/a", 100): "longer than 255",
	} {
		_, err := image.ParseName(in)
		if image.ClassOf(err) != image.Malformed || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want the class Malformed and %q", in, err, want)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{v1, "ipfs://" + v1 + "/a:b@" + dgst, "localhost:5050/ipfs/" + v0, "ipns://a.b/c:d", "https://gw.example/ipfs/" + v1, "@", ":", "//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := image.ParseReference(s)
		if err != nil {
			if image.ClassOf(err) != image.Malformed {
				t.Fatalf("%q: %v is not of the class Malformed", s, err)
			}
			return
		}
		if ref.Moving.Name != "" {
			if again, err := image.ParseReference(ref.Moving.String()); err != nil || again.Moving != ref.Moving {
				t.Fatalf("%q reads as %s, which reads as %s, %v", s, ref.Moving, again.Moving, err)
			}
			return
		}
		again, err := image.ParseReference(ref.Path.String())
		if err != nil || again.Path != ref.Path {
			t.Fatalf("%q reads as %s, which reads as %s, %v", s, ref.Path, again.Path, err)
		}
	})
}

func FuzzParseName(f *testing.F) {
	f.Add("ipfs/" + v1)
	f.Add("ipfs/" + v0 + "/x")
	f.Add(ciq + "/x")
	f.Add("layer/" + v1)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := image.ParseName(s)
		if err == nil {
			if again, err := image.ParseName(p.String()[1:]); err != nil || again != p {
				t.Fatalf("%q reads as %s, which reads as %s, %v", s, p, again, err)
			}
		}
		if err != nil && image.ClassOf(err) != image.Malformed {
			t.Fatalf("%q: %v is not of the class Malformed", s, err)
		}
	})
}
