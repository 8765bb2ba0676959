package node

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// row is two gateways, of which the first has nothing. It notes which roots the
// first was asked for before the second.
type row struct {
	mu           sync.Mutex
	asked, first map[string]bool
}

func (r *row) note(req *http.Request, isFirst bool) {
	root, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/ipfs/"), "/")
	r.mu.Lock()
	defer r.mu.Unlock()
	if isFirst && !r.asked[root] && !isProbe(req) {
		r.first[root] = true
	}
	r.asked[root] = true
}

func (r *row) wasFirst(root cid.Cid) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first[root.String()]
}

// Who had the first file of an image is asked for the others, which have roots of
// their own, and not everybody anew: who reads them, what is prefetched, and what comes
// around a Range.
func TestWhoHadSomeOfAnImageIsAskedForTheRest(t *testing.T) {
	st, roots, all := gatedFiles(t, 1000, 2<<20, 3<<20, 4<<20)
	gateways, has := row{asked: map[string]bool{}, first: map[string]bool{}}, honest(t, st)
	n := behind(t, patience,
		serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { gateways.note(r, true); http.NotFound(w, r) })),
		serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { gateways.note(r, false); has.ServeHTTP(w, r) })))
	ctx := image.Of(t.Context(), roots[0])
	for i, root := range roots[:2] {
		f, err := n.Open(ctx, image.Path{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := f.(image.LimitedWriterTo).WriteNTo(&got, f.Size()); err != nil || !bytes.Equal(got.Bytes(), all[i]) {
			t.Fatalf("file %d: read %d bytes, %v", i, got.Len(), err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	n.Prefetch([]image.Part{{Path: image.Path{Root: roots[2]}, To: 3 << 20, Image: roots[0]}})
	n.bring(image.Part{Path: image.Path{Root: roots[3]}, To: 1, Image: roots[0]}, []batch{single(roots[3])})
	eventually(t, "they have come", func() bool { return prefetched(n) })
	for i, want := range []bool{true, false, false, false} {
		if got := gateways.wasFirst(roots[i]); got != want {
			t.Errorf("file %d: that the first gateway was asked first is %v, want %v", i, got, want)
		}
	}
}
