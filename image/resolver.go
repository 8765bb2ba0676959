package image

import (
	"bytes"
	"context"
	"log/slog"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Resolver answers questions about the images that a Source has. Its methods
// may be called side by side. All their errors that are not the context's or
// the Source's own are of a [Class].
type Resolver struct {
	source    Source
	verdicts  *verdicts
	images    *recent
	resolving shared[Path, *resolved]
}

// ResolverOptions are the optional parts of a Resolver.
type ResolverOptions struct {
	// Log receives what no caller can be told; nil discards it.
	Log *slog.Logger
}

// NewResolver returns a Resolver of the images of source. What it has verified
// it remembers in store, which the caller closes after the last question.
func NewResolver(source Source, store datastore.Datastore, o ResolverOptions) *Resolver {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Resolver{source: source, verdicts: newVerdicts(store, o.Log), images: newRecent()}
}

// Manifest returns the manifest or index that ref names, verified: a digest, a
// tag, or "latest", which an image without that tag answers with its only
// image. The caller closes it. With the first byte that is read of an image's
// manifest, a Source that is a [Prefetcher] begins to fetch its blobs.
func (r *Resolver) Manifest(ctx context.Context, p Path, ref string) (*Content, error) {
	im, err := r.resolve(ctx, p)
	if err != nil {
		return nil, err
	}
	desc, err := im.choose(ctx, ref)
	if err != nil {
		return nil, err
	}
	doc, err := im.document(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	f := im.manifest(doc, &memFile{Reader: bytes.NewReader(doc.data), c: doc.c})
	return &Content{File: f, Descriptor: doc.desc, Document: doc.data}, nil
}

// Blob returns the blob, or manifest, with the digest. The caller closes it.
func (r *Resolver) Blob(ctx context.Context, p Path, dgst digest.Digest) (*Content, error) {
	im, err := r.resolve(First{}.In(ctx), p)
	if err != nil {
		return nil, err
	}
	return im.blob(ctx, dgst)
}

// Referrers returns the descriptors of the manifests whose subject is dgst,
// none where there is none.
func (r *Resolver) Referrers(ctx context.Context, p Path, dgst digest.Digest) ([]ocispec.Descriptor, error) {
	im, err := r.resolve(ctx, p)
	if err != nil {
		return nil, err
	}
	return im.referrersOf(ctx, dgst)
}

// Tags returns the tags of the image in ASCII order, "latest" among them where
// that is what an image without a tag is asked for by.
func (r *Resolver) Tags(ctx context.Context, p Path) ([]string, error) {
	im, err := r.resolve(ctx, p)
	if err != nil {
		return nil, err
	}
	return im.tags(), nil
}

// Knows reports whether what has been read of the image so far names the digest.
// It reads nothing.
func (r *Resolver) Knows(p Path, dgst digest.Digest) bool {
	im, ok := r.images.get(p)
	if !ok {
		return false
	}
	_, ok = im.table.get(dgst)
	return ok
}

// resolve opens the root of an image once, however many ask, and as long as one
// of them waits for it.
func (r *Resolver) resolve(ctx context.Context, p Path) (*resolved, error) {
	if im, ok := r.images.get(p); ok {
		return im, nil
	}
	return r.resolving.do(ctx, p, func(ctx context.Context) (*resolved, error) {
		ctx = Of(Together(ctx), p.Root)
		go r.enter(ctx, p)
		form, err := recognise(ctx, r.source, p)
		if err != nil {
			return nil, err
		}
		im := newResolved(p, form, r.source, r.verdicts)
		im.embedded = embedded(form.roots())
		r.images.add(p, im)
		return im, nil
	})
}

// enter opens the directory that a layout has its blobs in, while its documents
// are read: then the first blobs are a round trip away.
func (r *Resolver) enter(ctx context.Context, p Path) {
	if p.Root.Type() != cid.DagProtobuf {
		return
	}
	if f, err := r.source.Open(ctx, p.Join(ocispec.ImageBlobsDir, digest.Canonical.String())); err == nil {
		_ = f.Close() // it is no layout
	}
}
