package test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
)

// largeManifest is an image whose manifest has 2.5 MiB, for an annotation that does
// not repeat.
func largeManifest(t testing.TB) layout {
	t.Helper()
	noise := make([]byte, 1280<<10)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(noise)
	return annotatedImage(t, 1, map[string]string{"noise": hex.EncodeToString(noise)})
}

// A manifest that takes forty seconds, and of which each second brings a block,
// keeps nobody who asks with HEAD for longer than the fetch timeout and a moment:
// who comes again later finds it.
func TestHeadOfATrickle(t *testing.T) {
	t.Parallel() // it mostly waits
	const limit = 3 * time.Second
	l, k := largeManifest(t), kuboNode(t)
	cid := lastLine(must(t, k.ipfs(t, "add", "--recursive", "--quieter", "--cid-version=1", "--chunker=size-32000", l.dir)))
	link := startToxiproxy(t).link(t, k.gateway, 64)
	d := serve(t, tempDir(t), "--offline", "--gateway", link.url(), "--fetch-timeout", limit.String())
	began := time.Now()
	a := request(t, http.MethodHead, d.url("%s/manifests/latest", cid))
	if a.StatusCode != http.StatusGatewayTimeout || a.Header.Get("Retry-After") == "" {
		t.Errorf("%s, Retry-After %q", a.Status, a.Header.Get("Retry-After"))
	}
	if took := time.Since(began); took > limit+margin {
		t.Errorf("it took %s", took)
	}
	d.logs(t, "answer a HEAD within") // and not that nothing arrived
	link.unlimited(t)
	eventually(t, startLimit, "the manifest is served", func() error {
		if a := request(t, http.MethodHead, d.url("%s/manifests/latest", cid)); a.StatusCode != http.StatusOK || a.ContentLength != l.desc.Size {
			return fmt.Errorf("%s, %d bytes", a.Status, a.ContentLength)
		}
		return nil
	})
}
