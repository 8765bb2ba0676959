package image

import (
	"context"
	"sync/atomic"
)

type togetherKey struct{}

// Together returns a context for Opens of which one answer is made: to a Source
// that counts what it can't have they are one failure, however many of them fail.
func Together(ctx context.Context) context.Context {
	return context.WithValue(ctx, togetherKey{}, &atomic.Bool{})
}

// NoteFailure notes that an Open with ctx has failed. It returns false if that is
// one more failure of Opens that are Together.
func NoteFailure(ctx context.Context) (first bool) {
	failed, together := ctx.Value(togetherKey{}).(*atomic.Bool)
	return !together || !failed.Swap(true)
}
