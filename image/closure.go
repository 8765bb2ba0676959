package image

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Selection says which part of what lies below a root is meant. The zero
// Selection is all of it.
type Selection struct {
	// Ref is the tag or digest of one image; "" means every image.
	Ref string
	// Platforms are the platforms of an index that count; none means all that
	// are there.
	Platforms []ocispec.Platform
	// Manifests, where there are any, are the only manifests that count, the
	// indexes that lead to them besides.
	Manifests []digest.Digest
}

// Closure is everything that an image, or the part selected, is made of.
type Closure struct {
	// Form is the on-IPFS form, in words.
	Form string
	// Whole says that nothing below the root was left out and that all of it
	// is reached by the root's links: then the DAG of the root is the closure.
	Whole bool
	// Documents are the files that were read to find the rest, such as indexes
	// and manifests, and Directories the directories that were looked into.
	Documents, Directories []Path
	// Blobs are the configs and layers.
	Blobs []Blob
	// Manifests are the digests of the manifests and indexes selected.
	Manifests []digest.Digest
	// Size is the sum in bytes of the distinct manifests and blobs.
	Size int64
}

// Blob is a blob and the file that holds it, which may hold more.
type Blob struct {
	Path Path
	ocispec.Descriptor
}

// Closure finds everything that the selected part of the image at p is made
// of: manifests, configs and layers, and what refers to them by a subject, a
// tag such as sha256-<digest>.sig, or an annotation, as signatures and
// attestations do. It reads manifests and no layer. An index that names
// manifests that are not there is whole without them.
func (r *Resolver) Closure(ctx context.Context, p Path, s Selection) (*Closure, error) {
	read := &reading{Source: r.source, files: map[Path]bool{}}
	f, err := recognise(Of(Together(ctx), p.Root), read, p)
	if err != nil {
		return nil, err
	}
	w := &walk{im: newResolved(p, f, read, r.verdicts), selection: s, seen: map[digest.Digest]bool{}}
	w.closure.Form = f.name()
	if err := w.all(ctx); err != nil {
		return nil, err
	}
	w.closure.Documents, w.closure.Directories = read.list()
	w.closure.Whole = w.whole()
	return &w.closure, nil
}

// reading is a Source that remembers what was opened, and whether it is a file.
type reading struct {
	Source
	mu    sync.Mutex
	files map[Path]bool
}

func (r *reading) Open(ctx context.Context, p Path) (File, error) {
	f, err := r.Source.Open(ctx, p)
	var other *NotFileError
	if err == nil || errors.As(err, &other) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.files[p] = err == nil
	}
	return f, err
}

func (r *reading) list() (files, dirs []Path) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, file := range r.files {
		if file {
			files = append(files, p)
		} else {
			dirs = append(dirs, p)
		}
	}
	for _, list := range [][]Path{files, dirs} {
		slices.SortFunc(list, func(a, b Path) int { return strings.Compare(a.String(), b.String()) })
	}
	return files, dirs
}

// walk collects a closure.
type walk struct {
	im        *resolved
	selection Selection
	seen      map[digest.Digest]bool
	// partial says that something that is there was left out.
	partial bool
	closure Closure
}

func (w *walk) all(ctx context.Context) error {
	starts, err := w.starts(ctx)
	if err != nil {
		return err
	}
	for _, desc := range starts {
		if err := w.manifest(ctx, desc); err != nil {
			return err
		}
	}
	if len(w.closure.Manifests) == 0 {
		return &Error{Class: NotFound, Op: "find what to keep of the image at " + w.im.path.String(),
			Err: errors.New("it has no manifest that was asked for"), Hint: "see its platforms by \"ipfs-registry resolve\""}
	}
	return w.attached(ctx)
}

// starts are the descriptors to begin with.
func (w *walk) starts(ctx context.Context) ([]ocispec.Descriptor, error) {
	if w.selection.Ref != "" {
		desc, err := w.im.choose(ctx, w.selection.Ref)
		return []ocispec.Descriptor{desc}, err
	}
	starts := slices.Clone(w.im.form.roots())
	if f, ok := w.im.form.(tagger); ok {
		for _, tag := range f.tags() {
			desc, err := w.im.tagged(ctx, tag)
			if err != nil {
				return nil, err
			}
			starts = append(starts, desc)
		}
	}
	return starts, nil
}

// manifest takes in a manifest or index and what is below it, unless the
// selection leaves it out.
func (w *walk) manifest(ctx context.Context, desc ocispec.Descriptor) error {
	if w.seen[desc.Digest] {
		return nil
	}
	doc, err := w.im.document(ctx, desc.Digest)
	if err != nil {
		return err
	}
	index := isIndex(doc.desc.MediaType)
	if !index && !w.selected(ctx, desc, doc) {
		w.partial = true
		return nil
	}
	w.seen[desc.Digest] = true
	before := len(w.closure.Manifests)
	for _, child := range doc.manifest.Children() {
		if err := w.child(ctx, child); err != nil {
			return err
		}
	}
	if index && len(w.closure.Manifests) == before && w.picky() {
		w.partial = true // an index without anything that was selected
		return nil
	}
	w.closure.Manifests = append(w.closure.Manifests, desc.Digest)
	w.grow(doc.desc.Size)
	return nil
}

// grow adds a size. Where a form puts content by its digest, more of it may be found
// than the table has room for, so the sum stops far from where it would wrap.
func (w *walk) grow(size int64) { w.closure.Size = min(w.closure.Size+size, math.MaxInt64/2) }

func (w *walk) picky() bool { return len(w.selection.Platforms)+len(w.selection.Manifests) > 0 }

func (w *walk) child(ctx context.Context, desc ocispec.Descriptor) error {
	if IsManifest(desc.MediaType) {
		err := w.manifest(ctx, desc)
		if ClassOf(err) == NotFound {
			w.seen[desc.Digest] = true // a platform that was left out
			return nil
		}
		return err
	}
	if w.seen[desc.Digest] {
		return nil
	}
	w.seen[desc.Digest] = true
	p, err := w.im.find(ctx, desc.Digest)
	if err != nil {
		return err
	}
	if p.lost != nil {
		return w.im.fail(NotFound, desc.Digest, p.lost)
	}
	w.grow(desc.Size)
	if p.at.made == nil { // else its bytes are in what was read
		w.closure.Blobs = append(w.closure.Blobs, Blob{p.at.path, desc})
	}
	return nil
}

// selected reports whether a manifest that is no index is one that counts.
func (w *walk) selected(ctx context.Context, desc ocispec.Descriptor, doc *document) bool {
	if len(w.selection.Manifests) > 0 {
		return slices.Contains(w.selection.Manifests, desc.Digest)
	}
	if len(w.selection.Platforms) == 0 {
		return true
	}
	platform := desc.Platform
	if platform == nil && doc.manifest.Config != nil {
		found, err := w.im.platform(ctx, doc.manifest.Config.Digest)
		if err != nil {
			return false
		}
		platform = &found
	}
	return platform != nil && slices.ContainsFunc(w.selection.Platforms, func(p ocispec.Platform) bool {
		return p.OS == platform.OS && p.Architecture == platform.Architecture && (p.Variant == "" || p.Variant == platform.Variant)
	})
}

// whole reports whether the DAG of the root is just what was walked.
func (w *walk) whole() bool {
	im := w.im
	if im.path.Rest != "" || w.partial || im.table.limits() != nil {
		return false
	}
	for _, part := range w.closure.Blobs {
		if part.Path.Root != im.path.Root {
			return false
		}
	}
	im.table.mu.Lock()
	defer im.table.mu.Unlock()
	for dgst, p := range im.table.places {
		if IsManifest(p.mediaType) && (p.at.path.Root != im.path.Root && p.at.made == nil || !w.seen[dgst]) {
			return false
		}
	}
	return true
}
