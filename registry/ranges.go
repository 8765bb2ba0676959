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
	from, to, ok := firstRange(r.Header.Get("Range"))
	if !ok {
		return r.Context()
	}
	return image.First{From: from, To: to}.In(r.Context())
}

// maxOffset is above what any blob has.
const maxOffset = 1 << 60

// firstRange returns the first range of a header as [from, to). It returns false
// for what does not begin with one, and for one that counts from the end of a
// blob.
func firstRange(header string) (from, to int64, ok bool) {
	ranges, ok := strings.CutPrefix(header, "bytes=")
	first, _, _ := strings.Cut(ranges, ",")
	begin, end, dash := strings.Cut(strings.TrimSpace(first), "-")
	if !ok || !dash {
		return 0, 0, false
	}
	from, err := strconv.ParseInt(begin, 10, 64)
	if err != nil || from < 0 || from >= maxOffset {
		return 0, 0, false
	}
	if end == "" {
		return from, maxOffset, true
	}
	to, err = strconv.ParseInt(end, 10, 64)
	if err != nil || to < from || to >= maxOffset {
		return 0, 0, false
	}
	return from, to + 1, true
}

// needed is what a request with the header begins with, of a blob of some size:
// all of it, or the first range, by its offset and length. Like firstRange it
// guesses.
func needed(header string, size int64) (from, n int64) {
	if from, to, ok := firstRange(header); ok && from < size {
		return from, min(to, size) - from
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
