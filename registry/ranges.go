package registry

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// expecting is the context of a request for a blob. It says what of the blob the
// answer begins with, so that no more is fetched before. It is a guess:
// http.ServeContent decides what the answer is.
func expecting(r *http.Request) context.Context {
	if r.Method == http.MethodHead {
		return image.First{To: 1}.In(r.Context())
	}
	header := r.Header.Get("Range")
	if header == "" {
		return image.First{To: maxOffset}.In(r.Context())
	}
	ranges := parseRanges(header)
	if len(ranges) == 0 {
		return r.Context()
	}
	return image.First{From: ranges[0].From, To: ranges[0].To, Then: ranges[1:]}.In(r.Context())
}

// maxRanges is how many ranges of a request are fetched side by side: podman
// asks for no more.
const maxRanges = 1024

// maxOffset is above what any blob has.
const maxOffset = 1 << 60

// parseRanges returns the first ranges of a header, up to one that can't be read
// or that counts from the end of a blob.
func parseRanges(header string) []image.Range {
	text, ok := strings.CutPrefix(header, "bytes=")
	if !ok {
		return nil
	}
	var all []image.Range
	for part := range strings.SplitSeq(text, ",") {
		r, ok := parseRange(part)
		if !ok || len(all) == maxRanges {
			break
		}
		all = append(all, r)
	}
	return all
}

func parseRange(text string) (image.Range, bool) {
	begin, end, ok := strings.Cut(strings.TrimSpace(text), "-")
	from, err := strconv.ParseInt(begin, 10, 64)
	if !ok || err != nil || from < 0 || from >= maxOffset {
		return image.Range{}, false
	}
	if end == "" {
		return image.Range{From: from, To: maxOffset}, true
	}
	to, err := strconv.ParseInt(end, 10, 64)
	if err != nil || to < from || to >= maxOffset {
		return image.Range{}, false
	}
	return image.Range{From: from, To: to + 1}, true
}

// needed is what a request with the header begins with, of a blob of some size:
// all of it, or the first range, by its offset and length. Like parseRanges
// it guesses.
func needed(header string, size int64) (from, n int64) {
	if all := parseRanges(header); len(all) > 0 && all[0].From < size {
		return all[0].From, min(all[0].To, size) - all[0].From
	}
	last, _, _ := strings.Cut(header, ",")
	if digits, ok := strings.CutPrefix(last, "bytes=-"); ok {
		if n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64); err == nil && n >= 0 {
			n = min(n, size)
			return size - n, n
		}
	}
	return 0, size
}
