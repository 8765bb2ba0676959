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

// IsFirstFailure reports whether what failed with ctx is a failure of its own,
// and not one more of an Open that is Together with others.
func IsFirstFailure(ctx context.Context) bool {
	failed, together := ctx.Value(togetherKey{}).(*atomic.Bool)
	return !together || !failed.Swap(true)
}
