package pin

import (
	"strings"
	"testing"

	"github.com/ipfs-registry/ipfs-registry/image"
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
