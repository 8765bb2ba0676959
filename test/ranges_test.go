package test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
)

// Hundreds of small ranges of a layer that is far, asked for at once, take no
// more memory than all of it pulled and, each, the block of it; and in one
// request little more than all of it pulled.
func TestRangeMemory(t *testing.T) {
	const (
		size   = 512 << 20
		ranges = 400
		length = 16 << 10
	)
	l, layer := randomImageOf(t, size)
	blob, err := os.Open(l.blob(layer.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	seed := serve(t, tempDir(t))
	cid := push(t, seed.repo, l.spec())
	address := seed.address(t)
	// peak is the most that a daemon takes that begins with nothing.
	peak := func(read func(url string)) int64 {
		d := serve(t, tempDir(t), "--peer", address)
		defer d.stop()
		request(t, "GET", d.url("%s/manifests/latest", cid))
		read(d.url("%s/blobs/%s", cid, layer.Digest))
		return d.peakMemory(t)
	}
	offset := func(i int) int64 { return int64(i) * (size / ranges) }
	whole := peak(func(url string) {
		res, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if n, err := io.Copy(io.Discard, res.Body); n != layer.Size || err != nil {
			t.Errorf("%d bytes of %d, %v", n, layer.Size, err)
		}
	})
	apart := peak(func(url string) {
		var all sync.WaitGroup
		for i := range ranges {
			all.Go(func() {
				a := request(t, "GET", url, "Range", fmt.Sprintf("bytes=%d-%d", offset(i), offset(i)+length-1))
				if a.StatusCode != http.StatusPartialContent || len(a.body) != length {
					t.Errorf("at %d: %s with %d bytes", offset(i), a.Status, len(a.body))
				}
				checkPart(t, blob, offset(i), a.body)
			})
		}
		all.Wait()
	})
	together := peak(func(url string) {
		var header []string
		for i := range ranges {
			header = append(header, fmt.Sprintf("%d-%d", offset(i), offset(i)+length-1))
		}
		a := request(t, "GET", url, "Range", "bytes="+strings.Join(header, ","))
		if a.StatusCode != http.StatusPartialContent || len(a.body) < ranges*length {
			t.Errorf("%s with %d bytes", a.Status, len(a.body))
		}
	})
	t.Logf("peak memory: %d MiB for all of it, %d MiB for %d ranges, %d MiB for as many in one request", whole>>20, apart>>20, ranges, together>>20)
	if apart > whole+ranges<<20 || together > whole+64<<20 {
		t.Errorf("%d ranges took %d MiB, in one request %d MiB; all of it takes %d MiB", ranges, apart>>20, together>>20, whole>>20)
	}
}
