package registry

import (
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/ipfs-registry/ipfs-registry/image"
)

func TestExpecting(t *testing.T) {
	for header, want := range map[string]image.First{
		"bytes=0-1": {From: 0, To: 2}, "bytes=100-199, 5-6,9-": {From: 100, To: 200, Then: []image.Range{{From: 5, To: 7}, {From: 9, To: maxOffset}}}, "bytes=1-1,-5,7-8": {From: 1, To: 2},
		"bytes= 7-": {From: 7, To: maxOffset},
		"":          {To: maxOffset}, "bytes=-5": {}, "bytes=9-3": {}, "bytes=a-b": {}, "lines=0-1": {}, "bytes=99999999999999999999-": {}, "bytes=0-9223372036854775807": {},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header.Set("Range", header)
		if got, _ := image.FirstIn(expecting(r)); !slices.Equal(got.Then, want.Then) || got.From != want.From || got.To != want.To {
			t.Errorf("%q: %v; want %v", header, got, want)
		}
	}
	if got, _ := image.FirstIn(expecting(httptest.NewRequestWithContext(t.Context(), "HEAD", "/", nil))); got.From != 0 || got.To != 1 || got.Then != nil {
		t.Errorf("HEAD: %v; want the first byte", got)
	}
}

func TestNeeded(t *testing.T) {
	for header, want := range map[string][2]int64{
		"": {0, 100}, "bytes=0-1": {0, 2}, "bytes=10-19,50-": {10, 10}, "bytes=90-": {90, 10}, "bytes=90-200": {90, 10},
		"bytes=-5": {95, 5}, "bytes=-500": {0, 100}, "bytes=-0": {100, 0}, "bytes=--5": {0, 100}, "bytes=100-": {0, 100}, "bytes=-5,0-1": {95, 5}, "lines=-5": {0, 100},
	} {
		if from, n := needed(header, 100); from != want[0] || n != want[1] {
			t.Errorf("%q: %d bytes from %d on; want %v", header, n, from, want)
		}
	}
}

func FuzzRanges(f *testing.F) {
	for _, header := range []string{"bytes=0-1", "bytes=5-", "bytes=-5", "bytes=1-2, 3-4"} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		for _, r := range parseRanges(header) {
			if r.From < 0 || r.To <= r.From || r.To > maxOffset {
				t.Error(header, r)
			}
		}
	})
}
