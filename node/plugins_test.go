package node

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// What a denylist of the repository names is not handed out, not even from the
// disk; the lists of one repository say nothing of another.
func TestDenylistIsObeyed(t *testing.T) {
	repo := t.TempDir()
	first := startNode(t, Options{RepoPath: repo})
	small, err := first.AddFile(t.Context(), strings.NewReader("one block"), publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	large := addDir(t, first, randomBytes(4, 3<<20))
	fine := addFile(t, first, []byte("a fine block"))
	parent, err := first.AddDir(t.Context(), map[string]cid.Cid{"small": small, "large": large, "fine": fine, "secret": fine}, publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	dir := filepath.Join(repo, "denylists")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	list := "version: 1\n---\n/ipfs/" + small.String() + "\n/ipfs/" + large.String() + "\n/ipfs/" + parent.String() + "/secret\n"
	if err := os.WriteFile(filepath.Join(dir, "ours.deny"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	second, other := startNode(t, Options{RepoPath: repo}), startNode(t, Options{RepoPath: t.TempDir()})
	// The lists are read, and followed, in the background.
	eventually(t, "the list is read", func() bool { return kuboOf(t, second).denied(small) != nil })
	for name, p := range map[string]image.Path{"file": {Root: small}, "directory": image.Path{Root: large}.Join("blobs/sha256/x")} {
		f, err := second.Open(within(t, patience), p)
		if err == nil {
			_ = f.Close()
		}
		if image.ClassOf(err) != image.Denied || !strings.Contains(err.Error(), "ours.deny") {
			t.Errorf("a denied %s: %v", name, err)
		}
	}
	expectDenied(t, second, parent)
	if _, err := other.AddFile(t.Context(), strings.NewReader("one block"), publish.UnixFSv1); err != nil {
		t.Fatal(err)
	}
	if got := readPath(t, other, image.Path{Root: small}); !bytes.Equal(got, []byte("one block")) {
		t.Errorf("another repository's: %q", got)
	}
}

// expectDenied has a peer ask for what is denied below a directory, and for what
// is not.
func expectDenied(t *testing.T, n *Node, parent cid.Cid) {
	t.Helper()
	served, err := kuboOf(t, n).peerGateway(n.content)
	if err != nil {
		t.Fatal(err)
	}
	url := serveGateway(t, served) + "/ipfs/"
	const part = "?format=car&dag-scope=entity&entity-bytes=0:99&car-order=dfs&car-dups=n"
	for q, want := range map[string]int{
		"/small" + part: http.StatusGone, "/large/blobs/sha256/x" + part: http.StatusGone, "/secret" + part: http.StatusGone, "/fine" + part: http.StatusOK,
		"/small?format=car": 0, "/small?format=car&dag-scope=block": 0, "?format=car": 0, // which break off
		"/large/blobs/sha256/x?format=car": http.StatusGone, "/secret?format=car": http.StatusGone, "/fine?format=car": http.StatusOK,
		"/small?format=raw": http.StatusNotAcceptable, "?format=raw": http.StatusOK,
	} {
		got, err := http.Get(url + parent.String() + q)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(got.Body)
		_ = got.Body.Close()
		if bytes.Contains(body, []byte("one block")) || strings.HasPrefix(q, "/secret") && bytes.Contains(body, []byte("a fine block")) {
			t.Errorf("%s: %d with what is denied", q, got.StatusCode)
		}
		if want != 0 && got.StatusCode != want || want == http.StatusOK && !bytes.Contains(body, []byte("fine")) {
			t.Errorf("%s: %d with %d bytes; want %d", q, got.StatusCode, len(body), want)
		}
		if bytes.Contains(body, []byte("ours.deny")) {
			t.Errorf("%s: a peer is told which list it is: %s", q, body)
		}
	}
}
