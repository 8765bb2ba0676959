package image_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/opencontainers/go-digest"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

// pass lets time go by in a bubble of synctest, where it costs none.
func pass(d time.Duration) { <-time.After(d) }

// nameSystem leads each name to one place.
type nameSystem struct {
	to    image.Pointer
	err   error
	slow  time.Duration
	asked int
}

func (s *nameSystem) ResolveName(context.Context, string) (image.Pointer, error) {
	s.asked++
	pass(s.slow)
	return s.to, s.err
}

// somewhere are paths that differ.
func somewhere(n int) (all []image.Path) {
	s := imagetest.NewStore()
	for i := range n {
		all = append(all, image.Path{Root: s.AddFile([]byte{byte(i)})})
	}
	return all
}

func records() datastore.Datastore { return dssync.MutexWrap(datastore.NewMapDatastore()) }

const team = "k51qzi5uqu5dgutdk6i1ynyzgkqngpha5xpgia3a5qqp4jsh0u4csozksxel2r"

func current(t *testing.T, n *image.Names, m image.Moving) image.Version {
	t.Helper()
	v, err := n.Current(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestNamesAreResolvedAgainInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := somewhere(3)
		s := &nameSystem{to: image.Pointer{Path: at[0], TTL: time.Minute}}
		n := image.NewNames(s, records(), nil)
		m := image.Moving{Name: team, Rest: "app"}
		if v := current(t, n, m); v.Path != at[0].Join("app") || v.Stale != nil {
			t.Errorf("%+v", v)
		}
		s.to = image.Pointer{Path: at[1], TTL: 24 * time.Hour}
		pass(59 * time.Second)
		if v := current(t, n, m); v.Path != at[0].Join("app") || s.asked != 1 {
			t.Errorf("within the TTL: %+v, asked %d times", v, s.asked)
		}
		pass(2 * time.Second)
		if v := current(t, n, m); v.Path != at[1].Join("app") {
			t.Errorf("after the TTL: %+v", v)
		}
		if got, want := n.Recent(m), []image.Path{at[1].Join("app"), at[0].Join("app")}; !slices.Equal(got, want) {
			t.Errorf("recent are %v, want %v", got, want)
		}
		s.to = image.Pointer{Path: at[2], TTL: time.Minute}
		pass(10 * time.Minute)
		if v := current(t, n, m); v.Path != at[2].Join("app") {
			t.Errorf("a day's TTL is believed: %+v", v)
		}
	})
}

// What a name led to is kept as long as somebody goes on with it, and no longer
// than some hours after.
func TestNamesKeepVersionsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := somewhere(20)
		s := &nameSystem{}
		n := image.NewNames(s, records(), nil)
		m := image.Moving{Name: team}
		for i, p := range at[:3] {
			s.to = image.Pointer{Path: p}
			current(t, n, m)
			pass(time.Hour)
			n.Used(m, at[0])
			if got := n.Recent(m); !slices.Contains(got, at[0]) || len(got) != i+1 {
				t.Errorf("after %d h: %v", i+1, got)
			}
		}
		pass(3 * time.Hour)
		s.to = image.Pointer{Path: at[3]}
		current(t, n, m)
		if got := n.Recent(m); !slices.Equal(got, at[3:4]) {
			t.Errorf("nobody uses %v", got)
		}
		for _, p := range at {
			s.to = image.Pointer{Path: p}
			current(t, n, m)
		}
		if got := n.Recent(m); len(got) > 8 {
			t.Errorf("%d versions are kept", len(got))
		}
	})
}

// When a name can't be resolved again, the last answer is served and says so.
func TestNamesServeTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, store := somewhere(2), records()
		s := &nameSystem{to: image.Pointer{Path: at[0], TTL: time.Second}}
		n := image.NewNames(s, store, nil)
		m, began := image.Moving{Name: team}, time.Now()
		current(t, n, m)
		s.err = errors.New("the peer is on fire")
		pass(time.Minute)
		for range 3 {
			if v := current(t, n, m); v.Path != at[0] || v.Stale == nil || !strings.Contains(v.Stale.Error(), "on fire") || !v.Since.Equal(began) {
				t.Errorf("%+v", v)
			}
		}
		if s.asked != 2 {
			t.Errorf("what failed is tried %d times in a row", s.asked-1)
		}
		later := image.NewNames(s, store, nil)
		if v := current(t, later, m); v.Path != at[0] || v.Stale == nil || !v.Since.Equal(began) {
			t.Errorf("a later process: %+v", v)
		}
		s.err, s.to.Path = nil, at[1]
		pass(time.Minute)
		if v := current(t, n, m); v.Path != at[1] || v.Stale != nil {
			t.Errorf("when it can be resolved again: %+v", v)
		}
	})
}

func TestNamesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &nameSystem{err: &image.Error{Class: image.Unavailable, Op: "resolve it", Err: errors.New("no")}}
		n := image.NewNames(s, records(), nil)
		if _, err := n.Current(t.Context(), image.Moving{Name: team}); image.ClassOf(err) != image.Unavailable {
			t.Error(err)
		}
	})
}

// One of many who asks is not kept by a name that takes its time, if it led
// somewhere before; the answer is there for the next.
func TestNamesDoNotWaitLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := somewhere(2)
		s := &nameSystem{to: image.Pointer{Path: at[0], TTL: time.Second}}
		n := image.NewNames(s, records(), nil)
		m := image.Moving{Name: team}
		current(t, n, m)
		pass(2 * time.Second)
		s.slow, s.to = 20*time.Second, image.Pointer{Path: at[1], TTL: time.Minute}
		began := time.Now()
		if v := current(t, n, m); v.Path != at[0] || v.Stale == nil || time.Since(began) > 6*time.Second {
			t.Errorf("%+v after %s", v, time.Since(began))
		}
		pass(20 * time.Second)
		if v := current(t, n, m); v.Path != at[1] || v.Stale != nil || s.asked != 2 {
			t.Errorf("%+v, asked %d times", v, s.asked)
		}
	})
}

func TestParseMoving(t *testing.T) {
	key := keyOf(t)
	id, err := cid.Decode(key)
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"ipns://" + peerID:                       "/ipns/" + key,
		"ipns://" + id.String() + "/a:v1":        "/ipns/" + key + "/a",
		"/ipns/" + team:                          "/ipns/" + team,
		"localhost:5050/ipns/Images.Example/app": "/ipns/images.example/app",
		"ipns://xn--bcher-kva.example@" + dgst:   "/ipns/xn--bcher-kva.example",
	} {
		if ref, err := image.ParseReference(in); err != nil || ref.Moving.String() != want || ref.Path.Root.Defined() {
			t.Errorf("%s: %s, %v; want %s", in, ref.Moving, err, want)
		}
	}
	for _, in := range []string{"ipns://", "ipns://" + v1, "ipns://localhost", "ipns://127.0.0.1", "ipns://a..b", "ipns://-a.b", "ipns://a.b/../c", "ipns://a.b:.x",
		"ipns://" + strings.Repeat("a.", 200) + "b"} {
		if ref, err := image.ParseReference(in); image.ClassOf(err) != image.Malformed {
			t.Errorf("%s: %v, %v", in, ref, err)
		}
	}
	if m, ok, err := image.ParseMoving("ipns/images.example/library/nginx"); !ok || err != nil || m != (image.Moving{Name: "images.example", Rest: "library/nginx"}) || !m.IsDomain() {
		t.Errorf("%v, %v, %v", m, ok, err)
	}
	for in, want := range map[string]string{
		"ipns/" + peerID:                       "use ipns/" + key,
		"ipns/" + id.String():                  "use ipns/" + key,
		"ipns/" + team + "/UPPER":              "grammar",
		"ipns/" + v1:                           "neither an IPNS key nor a domain",
		"ipns/a.b/" + strings.Repeat("c", 255): "longer than 255",
	} {
		if _, ok, err := image.ParseMoving(in); !ok || image.ClassOf(err) != image.Malformed || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", in, ok, err, want)
		}
	}
	if _, ok, _ := image.ParseMoving("ipfs/" + v1); ok {
		t.Error("a CID is taken for a name that moves")
	}
}

const peerID = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"

// keyOf is the name of peerID's key.
func keyOf(t *testing.T) string {
	t.Helper()
	ref, err := image.ParseReference("ipns://" + peerID)
	if err != nil {
		t.Fatal(err)
	}
	return ref.Moving.Name
}

func TestParseGateway(t *testing.T) {
	for in, want := range map[string]image.Reference{
		"https://gw.example/ipfs/" + v1 + "/a:v1": {Gateway: "https://gw.example", Tag: "v1"},
		"https://gw.example:8443/ipfs/" + v1:      {Gateway: "https://gw.example:8443"},
		"http://127.0.0.1:8080/ipfs/" + v0:        {Gateway: "http://127.0.0.1:8080"},
		"https://gw.example/ipns/" + team:         {Gateway: "https://gw.example"},
	} {
		if ref, err := image.ParseReference(in); err != nil || ref.Gateway != want.Gateway || ref.Tag != want.Tag {
			t.Errorf("%s: %+v, %v", in, ref, err)
		}
	}
	for in, want := range map[string]string{
		"https://gw.example/x":                       "only as https://<gateway>/ipfs/<CID>",
		"https://gw.example/ipfs/" + v1 + "?x=y":     "no query",
		"http://gw.example/ipfs/" + v1:               "over https only",
		"https://user:secret@gw.example/ipfs/" + v1:  "no URL of a gateway",
		"https:///ipfs/" + v1:                        "no URL of a gateway",
		"https://" + v1 + ".ipfs.gw.example/":        "only as https://<gateway>/ipfs/<CID>",
		"https://gw.example/ipfs/nothing":            "is no CID",
		"https://gw.example/ipfs/" + v1 + "/%2e%2e/": "no query, fragment or escapes",
	} {
		_, err := image.ParseReference(in)
		if image.ClassOf(err) != image.Malformed || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", in, err, want)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("a password is told: %v", err)
		}
	}
}

func FuzzParseMoving(f *testing.F) {
	f.Add("ipns/" + team)
	f.Add("ipns/images.example/a/b")
	f.Add("ipns/" + v1)
	f.Fuzz(func(t *testing.T, s string) {
		m, ok, err := image.ParseMoving(s)
		if err != nil && image.ClassOf(err) != image.Malformed {
			t.Fatalf("%q: %v is not of the class Malformed", s, err)
		}
		if !ok || err != nil {
			return
		}
		if again, _, err := image.ParseMoving(m.String()[1:]); err != nil || again != m {
			t.Fatalf("%q reads as %s, which reads as %s, %v", s, m, again, err)
		}
	})
}

// A tag attaches something only if it begins with a whole digest.
func TestAttachedTo(t *testing.T) {
	dgst := digest.FromString("an image")
	for tag, want := range map[string]digest.Digest{
		image.AttachmentTag(dgst, ".sig"):      dgst,
		image.AttachmentTag(dgst, ""):          dgst,
		image.AttachmentTag(dgst, ".att.json"): dgst,
		"sha256-release":                       "",
		"sha256-" + dgst.Encoded()[1:]:         "",
		dgst.String():                          "",
		image.AttachmentTag(dgst, "/x"):        "",
		"v1":                                   "",
		"":                                     "",
	} {
		if got := image.AttachedTo(tag); got != want {
			t.Errorf("%q is attached to %q, want %q", tag, got, want)
		}
	}
}
