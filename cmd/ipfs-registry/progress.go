package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/cheggaaa/pb/v3"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/term"

	"github.com/ipfs-registry/ipfs-registry/publish"
)

// progressTo returns a progress that draws on w, and how to end it; nil and
// nothing to end when w is no terminal.
func progressTo(w io.Writer) (publish.Progress, func()) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	p := &progress{out: w, bar: pb.New64(0).SetWriter(w).Set(pb.Bytes, true)}
	p.bar.Start()
	return p, func() { p.bar.Finish() }
}

// progress is one bar for all the bytes and a line for every blob that is done.
// Blobs move side by side, so all methods may be called at once.
type progress struct {
	mu  sync.Mutex
	out io.Writer
	bar *pb.ProgressBar
}

func (p *progress) Start(desc ocispec.Descriptor) { p.bar.AddTotal(desc.Size) }

func (p *progress) Advance(_ ocispec.Descriptor, n int64) { p.bar.Add64(n) }

func (p *progress) Done(desc ocispec.Descriptor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Clear the bar's line; the bar draws itself anew below this one.
	fmt.Fprintf(p.out, "\r\x1b[K%s  %d bytes  %s\n", desc.Digest, desc.Size, desc.MediaType)
}
