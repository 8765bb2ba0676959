package node

import (
	"bytes"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Who had the first file of an image is asked for the others, which have roots of
// their own, and not everybody anew: who reads them and what is prefetched.
func TestWhoHadSomeOfAnImageIsAskedForTheRest(t *testing.T) {
	st, roots, all := gatedFiles(t, 1000, 2<<20, 3<<20)
	var asked atomic.Int32
	without := serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isProbe(r) {
			asked.Add(1)
		}
		http.NotFound(w, r)
	}))
	n := behind(t, patience, without, serveGateway(t, honest(t, st)))
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
		if n := asked.Load(); n != 1 {
			t.Fatalf("after file %d who has nothing of it was asked %d times, want once", i, n)
		}
	}
	n.Prefetch([]image.Part{{Path: image.Path{Root: roots[2]}, To: 3 << 20, Image: roots[0]}})
	eventually(t, "the prefetch ends", func() bool { return prefetched(n) })
	if n := asked.Load(); n != 1 {
		t.Errorf("for what is prefetched who has nothing of it was asked %d times more", n-1)
	}
}
