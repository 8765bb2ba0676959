package publish

import (
	"bytes"
	"cmp"
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
	"github.com/ipfs-registry/ipfs-registry/publish/lazy"
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
	// Lazy is the format that layers are converted to; "" leaves them as they
	// are. What is of the format already is not converted.
	Lazy lazy.Format
	// First are the files, by their paths, that converted layers have first.
	First []string
	// TempDir is where layers lie while they are converted; by default that of
	// the system.
	TempDir string
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
	// ConvertedFrom is what the image was before its layers were converted; it
	// has no digest when nothing was.
	ConvertedFrom ocispec.Descriptor
	// Left are the manifests, such as signatures, that are about what was
	// converted, and so are not about the image and not pushed.
	Left []ocispec.Descriptor
	// Missed are those of PushOptions.First that no converted layer has.
	Missed []string
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
	o, err := o.complete(src)
	if err != nil {
		return Result{}, err
	}
	format := formats()[o.Format]
	p := &push{survey: newSurvey(newTransfer(src, o.Progress), o.Platforms, true),
		sink: sink, chunker: o.Chunker, name: o.Name, base: o.Into, schema1: o.Schema1, cids: map[digest.Digest]cid.Cid{}}
	if err := p.take(ctx, src.Root()); err != nil {
		return Result{}, err
	}
	if o.Lazy == "" {
		return format(p, ctx)
	}
	from, err := p.convert(ctx, o)
	if err != nil {
		return Result{}, err
	}
	defer from.Close()
	now := from.source()
	p.survey = newSurvey(newTransfer(now, o.Progress), nil, true)
	if err := p.take(ctx, now.Root()); err != nil {
		return Result{}, err
	}
	result, err := format(p, ctx)
	from.tell(&result, o.First)
	return result, err
}

// complete checks the options and fills in the defaults.
func (o PushOptions) complete(src Source) (PushOptions, error) {
	o.Format, o.Chunker = cmp.Or(o.Format, "layout"), cmp.Or(o.Chunker, UnixFSv1)
	refuse := func(why error, hint string) (PushOptions, error) { return o, malformed("push "+src.Name(), why, hint) }
	if o.Format == "static" {
		if _, _, err := splitName(o.Name); err != nil {
			return refuse(err, "give a name such as nginx:alpine")
		}
	} else if o.Into != nil {
		return refuse(errors.New("only the format static is added to what was pushed before"), "use the format static")
	}
	o.Name = cmp.Or(o.Name, src.Name())
	all := formats()
	if _, ok := all[o.Format]; !ok {
		return refuse(fmt.Errorf("the format %s is not known", quote(o.Format)), "use "+strings.Join(slices.Sorted(maps.Keys(all)), " or "))
	}
	if o.Chunker != UnixFSv1 && o.Chunker != KuboLegacy {
		return refuse(fmt.Errorf("the chunker %s is not known", quote(string(o.Chunker))), fmt.Sprintf("use %s or %s", UnixFSv1, KuboLegacy))
	}
	if o.Lazy != "" && o.Lazy != lazy.EStargz && o.Lazy != lazy.ZstdChunked {
		return refuse(fmt.Errorf("layers can't be converted to %s", quote(string(o.Lazy))), fmt.Sprintf("use %s or %s", lazy.EStargz, lazy.ZstdChunked))
	}
	return o, nil
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
