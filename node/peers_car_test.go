package node

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-car/v2"
)

// blocksOf reads a CAR, whose blocks are verified.
func blocksOf(t testing.TB, r io.Reader) (roots []cid.Cid, all []string) {
	t.Helper()
	br, err := car.NewBlockReader(r)
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, err := br.Next()
		if err == io.EOF {
			return br.Roots, all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b.Cid().String())
	}
}

// What is sent by the short way is what boxo's gateway sends.
func TestPeersGetTheSameCAR(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	good := honest(t, &store{Blockstore: kuboOf(t, n).node.Blockstore})
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			root, data := s.build(t, n.dag)
			short := serveGateway(t, newCARServer(n.content, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Long-Way", "yes")
				good.ServeHTTP(w, r)
			})))
			for _, at := range [][2]int{{0, 1}, {0, len(data)}, {len(data) / 2, len(data)/2 + 1}, {len(data) / 3, len(data) / 2}, {len(data) - 1, len(data)}} {
				if at[1] <= at[0] || at[0] < 0 {
					continue
				}
				q := span{root: root, from: int64(at[0]), to: int64(at[1])}.query()
				want := httptest.NewRecorder()
				good.ServeHTTP(want, httptest.NewRequest(http.MethodGet, q, nil))
				got, err := http.Get(short + q)
				if err != nil {
					t.Fatal(err)
				}
				if got.Header.Get("Long-Way") != "" || got.ContentLength < 0 {
					t.Errorf("%s went the long way", q)
				}
				roots, sent := blocksOf(t, got.Body)
				_ = got.Body.Close()
				_, expected := blocksOf(t, want.Body)
				if len(roots) != 1 || !roots[0].Equals(root) || strings.Join(sent, " ") != strings.Join(expected, " ") {
					t.Errorf("%s: sent %d blocks %v, want %d %v", q, len(sent), sent, len(expected), expected)
				}
			}
		})
	}
}

// What is not all here, or no part of a file, is left to boxo's gateway.
func TestPeersGoTheLongWay(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	dir := addDir(t, n, randomBytes(14, 3<<20))
	long := 0
	s := newCARServer(n.content, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { long++ }))
	suffix := "&dag-scope=entity&entity-bytes=0:99&car-order=dfs&car-dups=n"
	for i, q := range []string{
		"/ipfs/" + absent("this").String() + "?format=car" + suffix,
		"/ipfs/" + dir.String() + "?format=car" + suffix,
		"/ipfs/" + dir.String() + "/blobs/none?format=car" + suffix,
		"/ipfs/" + dir.String() + "/blobs/sha256/x?format=raw",
		"/ipfs/" + dir.String() + "/blobs/sha256/x?format=car",
		"/ipfs/" + dir.String() + "/blobs/sha256/x?format=car" + strings.Replace(suffix, "0:99", "5:2", 1),
		"/ipfs/" + dir.String() + "/blobs/sha256/x?format=car" + strings.Replace(suffix, "0:99", "-5:2", 1),
		"/ipfs/" + dir.String() + "/blobs/sha256/x?format=car" + strings.Replace(suffix, "0:99", "0:*", 1),
		"/ipfs/nothing?format=car" + suffix,
	} {
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, q, nil))
		if long != i+1 {
			t.Errorf("%s did not go the long way", q)
			long = i + 1
		}
	}
	got, err := http.Get(serveGateway(t, s) + "/ipfs/" + dir.String() + "/blobs/sha256/x?format=car" + suffix)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if _, sent := blocksOf(t, got.Body); long != 9 || len(sent) != 5 {
		t.Errorf("the file itself: %d blocks, %d requests went the long way", len(sent), long)
	}
}

func FuzzParseSpan(f *testing.F) {
	f.Add("/ipfs/bafkqaaa/a/b", "format=car&dag-scope=entity&entity-bytes=0:99&car-order=dfs&car-dups=n")
	f.Add("/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", "format=car&dag-scope=entity&entity-bytes=9:1&car-order=dfs&car-dups=n")
	f.Fuzz(func(t *testing.T, path, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawQuery = path, query
		sp, err := parseSpan(r)
		if err == nil && (sp.from < 0 || sp.to <= sp.from || sp.to-sp.from > maxServedSpan || !sp.root.Defined() || len(sp.names) > maxPathNames) {
			t.Errorf("%+v", sp)
		}
	})
}
