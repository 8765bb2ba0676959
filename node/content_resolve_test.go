package node

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

func testHash(t testing.TB, data []byte) multihash.Multihash {
	t.Helper()
	mh, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	return mh
}

func identity(t testing.TB, codec uint64, data []byte) cid.Cid {
	t.Helper()
	mh, err := multihash.Sum(data, multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	return cid.NewCidV1(codec, mh)
}

func add(t testing.TB, c *content, nd ipld.Node) cid.Cid {
	t.Helper()
	if err := c.dag.Add(t.Context(), nd); err != nil {
		t.Fatal(err)
	}
	return nd.Cid()
}

func pbNode(t testing.TB, data []byte, links ...*ipld.Link) *merkledag.ProtoNode {
	t.Helper()
	nd := merkledag.NodeWithData(data)
	if err := nd.SetCidBuilder(cidBuilder()); err != nil {
		t.Fatal(err)
	}
	if err := nd.SetLinks(links); err != nil {
		t.Fatal(err)
	}
	return nd
}

func TestFindsInAShardedDirectoryWithoutListingIt(t *testing.T) {
	st := memoryStore(t)
	c := offlineContent(st)
	entries := map[string]cid.Cid{}
	for i := range 10_000 {
		nd := merkledag.NewRawNode(fmt.Appendf(nil, "%05d", i))
		entries[fmt.Sprintf("entry-%05d", i)] = add(t, c, nd)
	}
	dir, err := c.AddDir(t.Context(), entries, publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 1, 4711, 9999} {
		before := st.reads()
		f := openFile(t, c, image.Path{Root: dir, Rest: fmt.Sprintf("entry-%05d", i)})
		got := make([]byte, 6)
		if n, _ := f.Read(got); string(got[:n]) != fmt.Sprintf("%05d", i) {
			t.Errorf("entry %d is %q", i, got[:n])
		}
		// The root, two shards or three, the file's root and its first byte.
		if n := st.reads() - before; n > 6 {
			t.Errorf("entry %d took %d block reads", i, n)
		}
	}
	before := st.reads()
	_, err = c.Open(t.Context(), image.Path{Root: dir, Rest: "entry-x"})
	if image.ClassOf(err) != image.NotFound || !strings.Contains(err.Error(), dir.String()) {
		t.Errorf("an absent name gave %v", err)
	}
	var other *image.NotFileError
	if _, err = c.Open(t.Context(), image.Path{Root: dir}); !errors.As(err, &other) || other.Kind != "directory" {
		t.Fatalf("the directory gave %v", err)
	}
	if len(other.Entries) == 0 || len(other.Entries) > 10 || !strings.HasPrefix(other.Entries[0], "entry-") {
		t.Errorf("its entries are told as %q", other.Entries)
	}
	if n := st.reads() - before; n > 7 {
		t.Errorf("saying what is there took %d block reads", n)
	}
}

func TestSaysWhatAPathLeadsTo(t *testing.T) {
	c := offlineContent(memoryStore(t))
	symlink, err := unixfs.SymlinkData("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	file := add(t, c, merkledag.NewRawNode([]byte("hello")))
	link := add(t, c, pbNode(t, symlink))
	bare := add(t, c, pbNode(t, []byte("no UnixFS")))
	empty := add(t, c, pbNode(t, nil))
	cbor := cid.NewCidV1(cid.DagCBOR, testHash(t, []byte("cbor")))
	dir, err := c.AddDir(t.Context(), map[string]cid.Cid{"a/b/file": file, "link": link, "bare": bare}, publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("%02d", i))
	}
	many := map[string]cid.Cid{}
	for _, name := range names {
		many[name] = file
	}
	big, err := c.AddDir(t.Context(), many, publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		path    image.Path
		kind    string
		entries []string
	}{
		{"a directory", image.Path{Root: dir}, "directory", []string{"a", "bare", "link"}},
		{"a directory below", image.Path{Root: dir, Rest: "a/b"}, "directory", []string{"file"}},
		{"a directory of thirty", image.Path{Root: big}, "directory", names[:10]},
		{"a symlink", image.Path{Root: dir, Rest: "link"}, "symlink", nil},
		{"dag-cbor", image.Path{Root: cbor}, "dag-cbor node", nil},
		{"dag-pb of another kind", image.Path{Root: dir, Rest: "bare"}, "dag-pb node without UnixFS data", nil},
		{"dag-pb without data", image.Path{Root: empty}, "dag-pb node without UnixFS data", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var other *image.NotFileError
			_, err := c.Open(t.Context(), test.path)
			if !errors.As(err, &other) || other.Kind != test.kind || fmt.Sprint(other.Entries) != fmt.Sprint(test.entries) || other.Path != test.path {
				t.Errorf("got %v, %+v", err, other)
			}
		})
	}
	long := strings.Repeat("x", 256)
	for _, test := range []struct {
		rest  string
		class image.Class
		text  string
	}{
		{"c", image.NotFound, `find "c": the directory /ipfs/` + dir.String() + " has no such name"},
		{"a/b/c/d", image.NotFound, `find "c": the directory /ipfs/` + dir.String() + "/a/b has no such name"},
		{"a/b/file/x", image.NotFound, "/a/b/file is a file, not a directory"},
		{"link/x", image.NotFound, "is a symlink, not a directory"},
		{"bare/x", image.NotFound, "is no directory"},
		{"a//b", image.Malformed, "empty"},
		{"/a", image.Malformed, "empty"},
		{"a/", image.Malformed, "empty"},
		{"a/../a", image.Malformed, `".."`},
		{"./a", image.Malformed, `"."`},
		{"a/\x00", image.Malformed, "no name"},
		{long, image.Malformed, "256 bytes"},
		{strings.Repeat("a/", 64) + "a", image.Malformed, "65 names"},
		{strings.Repeat("aaaaaaa/", 1000), image.Malformed, "8000 bytes"},
	} {
		t.Run("path "+test.rest[:min(len(test.rest), 10)], func(t *testing.T) {
			_, err := c.Open(t.Context(), image.Path{Root: dir, Rest: test.rest})
			if image.ClassOf(err) != test.class || !strings.Contains(fmt.Sprint(err), test.text) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := c.Open(t.Context(), image.Path{}); image.ClassOf(err) != image.Malformed {
		t.Errorf("no CID at all gave %v", err)
	}
}

func TestIdentityCIDs(t *testing.T) {
	c := offlineContent(memoryStore(t))
	small := identity(t, cid.Raw, []byte("inline"))
	whole := unixfs.FilePBData([]byte("in dag-pb"), 9)
	pb := identity(t, cid.DagProtobuf, pbNode(t, whole).RawData())
	parent := add(t, c, fileNode(t, nil, 15, part{small, 6}, part{pb, 9}))
	for root, want := range map[cid.Cid]string{small: "inline", pb: "in dag-pb", parent: "inlinein dag-pb"} {
		f := openFile(t, c, image.Path{Root: root})
		var got bytes.Buffer
		if _, err := f.WriteNTo(&got, f.Size()); err != nil || got.String() != want {
			t.Errorf("%s: read %q, %v; want %q", root, &got, err, want)
		}
	}
	large := identity(t, cid.Raw, bytes.Repeat([]byte("x"), 1000))
	if _, err := c.Open(t.Context(), image.Path{Root: large}); image.ClassOf(err) != image.Malformed {
		t.Errorf("a large identity CID gave %v", err)
	}
	parent = add(t, c, fileNode(t, nil, 1000, part{large, 1000}))
	if _, err := c.Open(t.Context(), image.Path{Root: parent}); image.ClassOf(err) != image.Corrupt {
		t.Errorf("a link to a large identity CID gave %v", err)
	}
}
