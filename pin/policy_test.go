package pin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/go-datastore"
	"github.com/opencontainers/go-digest"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

func TestParseList(t *testing.T) {
	const root, dgst = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	roots, dgsts, err := parseList(strings.NewReader("# first\n\n " + root + " # the shop\r\nipfs://" + root + "\n" + dgst + "\n"))
	if err != nil || len(roots) != 1 || len(dgsts) != 1 || dgsts[0] != dgst {
		t.Errorf("read %v, %v, %v", roots, dgsts, err)
	}
	for text, says := range map[string]string{
		root + "\n" + root + "/path": "line 2", root + ":tag": "line 1", "ipns://docs.example": "line 1", "https://example.org/ipfs/" + root: "line 1", "anything": "line 1", "sha256:00": "line 1",
		strings.Repeat(dgst+"\n", maxListed+1): "more than",
	} {
		if _, _, err := parseList(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.80q gave %v; want something about %q", text, err, says)
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A request that began by one list does not have what that admits taken for what
// the next one does.
func TestAnAdmissionIsThatOfItsList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	one, two := b.Image("amd64", []byte("one")), b.Image("arm64", []byte("two"))
	p := image.Path{Root: b.Layout(s, nil, one, two)}
	policy := &Policy{Serve: ServeList, List: file}
	g := (&Keeper{options: Options{Policy: policy}}).Guard(image.NewResolver(s, datastore.NewMapDatastore(), image.ResolverOptions{}))
	write(t, file, one.Digest.String())
	old, err := policy.listed()
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, two.Digest.String()+" # since today")
	if _, err := policy.listed(); err != nil { // by another request
		t.Fatal(err)
	}
	if _, err := g.below(t.Context(), p, old); err != nil {
		t.Fatal(err)
	}
	if c, err := g.Manifest(t.Context(), p, two.Digest.String()); err != nil {
		t.Errorf("what is listed: %v", err)
	} else {
		c.Close()
	}
	if c, err := g.Blob(t.Context(), p, digest.FromString("one")); image.ClassOf(err) != image.Denied {
		t.Errorf("what is listed no more: %v, %v", c, err)
	}
}

// A file is read whole or not at all.
func TestFilesThatAreTooLarge(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	const root = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy\n"
	key := string(NewTestKey(t).Public())
	for _, tc := range []struct {
		what, text string
		most       int
		read       func() error
	}{
		{"list", root, maxList, func() error { _, err := (&Policy{List: file}).listed(); return err }},
		{"keys", key, maxKeys, func() error { return CheckKeys(file) }},
	} {
		whole := tc.text + strings.Repeat("#"+strings.Repeat(" ", 1022)+"\n", tc.most>>10)
		write(t, file, whole[:tc.most])
		if err := tc.read(); err != nil {
			t.Errorf("%s of %d bytes: %v", tc.what, tc.most, err)
		}
		write(t, file, whole[:tc.most+1])
		if err := tc.read(); image.ClassOf(err) != image.Denied || !strings.Contains(err.Error(), fmt.Sprintf("more than %d bytes", tc.most)) {
			t.Errorf("%s of one byte more: %v", tc.what, err)
		}
	}
}

func FuzzParseList(f *testing.F) {
	for _, seed := range []string{"", "# a comment", "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", "sha256:" + strings.Repeat("0", 64), "ipfs://Qm\x00", "ipns://docs.example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		roots, dgsts, err := parseList(strings.NewReader(text))
		if err != nil {
			return
		}
		for root := range roots {
			if !root.Defined() || root.Version() != 1 {
				t.Errorf("%s is not the form that paths have", root)
			}
		}
		for _, dgst := range dgsts {
			if _, err := image.ParseDigest(dgst.String()); err != nil {
				t.Error(err)
			}
		}
	})
}
