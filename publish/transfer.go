package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Progress is told how content moves, by several goroutines at once. nil is
// nobody.
type Progress interface {
	// Start says that the content begins to move.
	Start(desc ocispec.Descriptor)
	// Advance says that n more bytes of it have been read.
	Advance(desc ocispec.Descriptor, n int64)
	// Done says that all of it is where it goes to.
	Done(desc ocispec.Descriptor)
}

// sideBySide is how many blobs move at once. Three keep a network and a disk
// busy; each takes a buffer of its own.
const sideBySide = 3

// put takes in the content of desc, reading r to its end.
type put func(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error

// transfer moves content out of a source.
type transfer struct {
	src      Source
	progress Progress
	stall    time.Duration
}

func newTransfer(src Source, p Progress) *transfer {
	if p == nil {
		p = nobody{}
	}
	return &transfer{src: src, progress: p, stall: stallLimit}
}

// all moves the blobs, some side by side, and ends with the first error.
func (t *transfer) all(ctx context.Context, blobs []ocispec.Descriptor, put put) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	for _, desc := range blobs {
		group.Go(func() error { return t.one(ctx, desc, put) })
	}
	return group.Wait()
}

// one moves a blob, which has arrived only if it was verified to its end.
func (t *transfer) one(ctx context.Context, desc ocispec.Descriptor, put put) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.progress.Start(desc)
	rc, err := t.open(ctx, desc)
	if err != nil {
		return err
	}
	defer rc.Close()
	v := newVerified(ctx, rc, desc, t.src.Name(), func(n int64) { t.progress.Advance(desc, n) })
	err = put(ctx, desc, v)
	switch {
	case v.err != nil && v.err != io.EOF:
		return v.err // what the other side makes of it has lost its class
	case err != nil:
		return fmt.Errorf("store %s: %w", desc.Digest, err)
	case v.err == nil:
		return fmt.Errorf("store %s: %w", desc.Digest, errors.New("it was not read to its end"))
	}
	t.progress.Done(desc)
	return nil
}

// open opens content of the source, which may not stall.
func (t *transfer) open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	op := fmt.Sprintf("read %s of %s", desc.Digest, t.src.Name())
	return openPatiently(ctx, op, t.stall, func(ctx context.Context) (io.ReadCloser, error) { return t.src.Open(ctx, desc) })
}

type nobody struct{}

func (nobody) Start(ocispec.Descriptor)          {}
func (nobody) Advance(ocispec.Descriptor, int64) {}
func (nobody) Done(ocispec.Descriptor)           {}
