package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// stallLimit is how long a source may deliver nothing before its image is given
// up.
const stallLimit = 2 * time.Minute

var errStalled = errors.New("nothing arrived any more")

// verified reads content and fails, in place of the end, when the bytes are not
// those of the descriptor. It fails as well when its context ends.
type verified struct {
	ctx      context.Context
	r        io.Reader
	desc     ocispec.Descriptor
	from     string
	verifier digest.Verifier
	seen     int64
	advance  func(int64)
	err      error // how it ended; io.EOF when all was proved
}

func newVerified(ctx context.Context, r io.Reader, desc ocispec.Descriptor, from string, advance func(int64)) *verified {
	return &verified{ctx: ctx, r: r, desc: desc, from: from, verifier: desc.Digest.Verifier(), advance: advance}
}

func (v *verified) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	if v.err = v.ctx.Err(); v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	_, _ = v.verifier.Write(p[:n]) // a hash takes everything
	v.seen += int64(n)
	v.advance(int64(n))
	v.err = v.judge(err)
	return n, v.err
}

// judge turns the outcome of a read of the source into that of ours.
func (v *verified) judge(err error) error {
	switch {
	case v.seen > v.desc.Size:
		return v.corrupt(fmt.Errorf("it has more than the %d bytes that its descriptor says", v.desc.Size))
	case err == io.EOF && v.seen < v.desc.Size:
		return v.corrupt(fmt.Errorf("it has %d bytes and its descriptor says %d", v.seen, v.desc.Size))
	case err == io.EOF && !v.verifier.Verified():
		return v.corrupt(errors.New("its bytes have another digest"))
	case err == nil || err == io.EOF:
		return err
	case v.ctx.Err() != nil:
		return v.ctx.Err()
	default:
		return classed("read "+v.desc.Digest.String()+" of "+v.from, err)
	}
}

func (v *verified) corrupt(why error) error {
	return fail(image.Corrupt, fmt.Sprintf("read %s of %s", v.desc.Digest, v.from), why, "get the image anew from where it was made")
}

// classed keeps the class that err has and gives it one when it has none.
func classed(op string, err error) error {
	if image.ClassOf(err) != 0 || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fail(image.Unavailable, op, err, "try again; what has arrived is kept")
}

// patient is content that may not stall: when an Open or a Read takes longer
// than limit, its context ends.
type patient struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
	op     string
}

// openPatiently opens what op says and bounds the opening and every read.
func openPatiently(ctx context.Context, op string, limit time.Duration, open func(context.Context) (io.ReadCloser, error)) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &patient{ctx: ctx, cancel: cancel, limit: limit, op: op}
	p.timer = time.AfterFunc(limit, func() { cancel(errStalled) })
	rc, err := open(ctx)
	p.timer.Stop()
	if err != nil {
		defer cancel(nil)
		return nil, p.explain(err)
	}
	p.ReadCloser = rc
	return p, nil
}

func (p *patient) Read(b []byte) (int, error) {
	p.timer.Reset(p.limit)
	defer p.timer.Stop()
	n, err := p.ReadCloser.Read(b)
	if err != nil && err != io.EOF {
		err = p.explain(err)
	}
	return n, err
}

func (p *patient) explain(err error) error {
	if errors.Is(context.Cause(p.ctx), errStalled) {
		return fail(image.Unavailable, p.op, fmt.Errorf("%w for %s", errStalled, p.limit), "try again; what has arrived is kept")
	}
	return err
}

func (p *patient) Close() error {
	p.timer.Stop()
	p.cancel(nil)
	return p.ReadCloser.Close()
}
