package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// PushOptions say what shape an image gets.
type PushOptions struct {
	// Format is "layout", the default, "nerdctl" or "static".
	Format string
	// Chunker is UnixFSv1 by default.
	Chunker Chunker
	// Platforms are the ones to push, by default all that are there.
	Platforms []ocispec.Platform
	// Name is the name of the pin, by default the Source's. In the format
	// static it is what the image is called there as well, REPOSITORY[:TAG],
	// and has to be given.
	Name string
	// Into is a static registry that the new one has the images of besides;
	// nil for none. Only the format static has it.
	Into *Base
	// Schema1 adds a manifest of Docker's schema 1 beside each tag of a static
	// registry, called <tag>-schema1.
	Schema1 bool
	// Progress is told how the blobs move; nil for nobody.
	Progress Progress
}

// Base is what was pushed before.
type Base struct {
	Source image.Source
	Root   cid.Cid
}

// Result is what Push has made.
type Result struct {
	// Root is the CID that names the image.
	Root cid.Cid
	// Descriptor is that of the manifest or index below Root.
	Descriptor ocispec.Descriptor
	// Size is the sum in bytes of the distinct manifests and blobs.
	Size int64
	// Blobs is how many these are.
	Blobs int
	// Tag is the tag that the image has below Root, empty when it has none.
	Tag string
	// Repository is what the image is called below Root, empty when it is Root.
	Repository string
	// Missing are the entries of its indexes that were not there whole at the
	// source and so were left out.
	Missing []ocispec.Descriptor
}

// push is a Push under way.
type push struct {
	*survey
	sink    Sink
	chunker Chunker
	name    string
	base    *Base
	schema1 bool

	mu   sync.Mutex
	cids map[digest.Digest]cid.Cid // what is in the sink already
}

// formats are the shapes an image can take on IPFS.
func formats() map[string]func(*push, context.Context) (Result, error) {
	return map[string]func(*push, context.Context) (Result, error){
		"layout":  (*push).layout,
		"nerdctl": (*push).nerdctl,
		"static":  (*push).static,
	}
}

// Push moves the image of src into the sink. It returns when the sink has made
// it durable; when Push fails nothing has been published, and what has arrived
// makes the next Push cheaper. The errors are of the classes of [image.Error]:
// Corrupt when a digest or a size lies, NotImage when it is none that can be
// taken, NotFound when it or the platforms asked for are not there, Unavailable
// when the source stops answering. ctx ends it.
func Push(ctx context.Context, src Source, sink Sink, o PushOptions) (Result, error) {
	if o.Format == "" {
		o.Format = "layout"
	}
	if o.Chunker == "" {
		o.Chunker = UnixFSv1
	}
	if o.Format == "static" {
		if _, _, err := splitName(o.Name); err != nil {
			return Result{}, malformed("push "+src.Name(), err, "give a name such as nginx:alpine")
		}
	} else if o.Into != nil {
		return Result{}, malformed("push "+src.Name(), errors.New("only the format static is added to what was pushed before"), "use the format static")
	}
	if o.Name == "" {
		o.Name = src.Name()
	}
	all := formats()
	format, ok := all[o.Format]
	if !ok {
		names := slices.Sorted(maps.Keys(all))
		return Result{}, malformed("push "+src.Name(), fmt.Errorf("the format %s is not known", quote(o.Format)), "use "+strings.Join(names, " or "))
	}
	if o.Chunker != UnixFSv1 && o.Chunker != KuboLegacy {
		return Result{}, malformed("push "+src.Name(), fmt.Errorf("the chunker %s is not known", quote(string(o.Chunker))), fmt.Sprintf("use %s or %s", UnixFSv1, KuboLegacy))
	}
	p := &push{survey: newSurvey(newTransfer(src, o.Progress), o.Platforms, true),
		sink: sink, chunker: o.Chunker, name: o.Name, base: o.Into, schema1: o.Schema1, cids: map[digest.Digest]cid.Cid{}}
	if err := p.take(ctx, src.Root()); err != nil {
		return Result{}, err
	}
	return format(p, ctx)
}

// addBlobs puts all that is no manifest into the sink.
func (p *push) addBlobs(ctx context.Context) error {
	return p.transfer.all(ctx, p.blobs, func(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
		c, err := p.sink.AddFile(ctx, r, p.chunker)
		if err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.cids[desc.Digest] = c
		return nil
	})
}

// addBytes puts a small file into the sink.
func (p *push) addBytes(ctx context.Context, data []byte) (cid.Cid, error) {
	c, err := p.sink.AddFile(ctx, bytes.NewReader(data), p.chunker)
	if err != nil {
		return cid.Undef, fmt.Errorf("store %s: %w", p.name, err)
	}
	return c, nil
}

// publish makes what was added durable and returns the Result.
func (p *push) publish(ctx context.Context, root cid.Cid, desc ocispec.Descriptor, parts []cid.Cid) (Result, error) {
	if err := p.sink.Publish(ctx, p.name, root, parts); err != nil {
		return Result{}, fmt.Errorf("publish %s as %s: %w", p.name, root, err)
	}
	return Result{Root: root, Descriptor: desc, Size: p.size(), Blobs: len(p.manifests) + len(p.blobs), Missing: p.missing}, nil
}

// tag returns the tag of the source where it is one by the grammar.
func (p *push) tag() string {
	if tag := p.transfer.src.Tag(); image.IsTag(tag) {
		return tag
	}
	return ""
}
