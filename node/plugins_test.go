package node

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	dir := filepath.Join(repo, "denylists")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	list := "version: 1\n---\n/ipfs/" + small.String() + "\n/ipfs/" + large.String() + "\n"
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
	if _, err := other.AddFile(t.Context(), strings.NewReader("one block"), publish.UnixFSv1); err != nil {
		t.Fatal(err)
	}
	if got := readPath(t, other, image.Path{Root: small}); !bytes.Equal(got, []byte("one block")) {
		t.Errorf("another repository's: %q", got)
	}
}
