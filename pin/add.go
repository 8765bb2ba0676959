package pin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// sideBySide is how many blobs are fetched at once.
const sideBySide = 3

// Request names an image to be kept.
type Request struct {
	Path image.Path `json:"path"`
	// Ref is a tag or digest; "" means all images there.
	Ref string `json:"ref,omitempty"`
	// Platforms, as OS/ARCH[/VARIANT], are those to keep; none means all.
	Platforms []string `json:"platforms,omitempty"`
	// Manifests, where there are any, are the only ones to keep.
	Manifests []digest.Digest `json:"manifests,omitempty"`
	// Name is what the image is called; "" means by its path.
	Name string `json:"name,omitempty"`
	// Pulled says that it was pulled and not asked for by name.
	Pulled bool `json:"pulled,omitempty"`
	// Pushed says that it was made here: all that is below its root is kept,
	// and no policy is asked, which decides when it is to be served.
	Pushed bool `json:"pushed,omitempty"`
	// Of what nobody waits for, resumed is for what is listed as incomplete, to be
	// completed, and noted for what was pulled; unless it was let go of since.
	resumed, noted bool
}

// Progress is how far an Add is, in bytes and blobs.
type Progress struct {
	Total, Done      int64
	Blobs, BlobsDone int
}

// Add implements Service. Adding what is kept already, or more of it, is
// harmless. When it fails, what is kept of the image by then stays so.
func (k *Keeper) Add(ctx context.Context, r Request, told func(Progress)) (*Image, error) {
	id := idOf(r.Path)
	as := asks
	if r.Pulled || r.resumed {
		as = waits
	}
	end, err := k.claim(ctx, id, as)
	if err != nil {
		return nil, err
	}
	defer end()
	ctx, cancel := k.cancellable(ctx, id)
	defer cancel()
	had, err := k.ledger.Get(ctx, r.Path)
	if err != nil {
		return nil, err
	}
	if r.resumed && (had == nil || had.State == Kept) || r.noted && k.pullOf(id) == nil {
		return had, errLetGo
	}
	if r.resumed {
		r.Ref, r.Platforms, r.Manifests, r.Pulled = had.Ref, had.Platforms, had.Manifests, !had.Explicit
	}
	i := merge(had, r)
	if i.State == Incomplete {
		if err := k.ledger.Update(ctx, i); err != nil {
			return nil, err
		}
	}
	if err := k.complete(ctx, i, told); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, k.failed(ctx, i, had, err)
	}
	return i, nil
}

// merge makes the entry of an image that has one, or none, and is to be kept.
func merge(had *Image, r Request) *Image {
	now := time.Now().UTC()
	i := &Image{Root: r.Path.Root, Rest: r.Path.Rest, State: Incomplete, Added: now, Pulled: now,
		Ref: r.Ref, Platforms: r.Platforms, Manifests: r.Manifests}
	if had != nil {
		*i = *had
		i.widen(r)
	}
	if r.Name != "" {
		i.Name = r.Name
	}
	if i.Name == "" {
		i.Name = i.Path().String()
	}
	i.Explicit = i.Explicit || !r.Pulled
	i.Pushed = i.Pushed || r.Pushed
	return i
}

// widen makes the selection that of both.
func (i *Image) widen(r Request) {
	switch all := func(ref string, lists ...int) bool { return ref == "" && slices.Max(lists) == 0 }; {
	case i.Ref == r.Ref && slices.Equal(i.Platforms, r.Platforms) && slices.Equal(i.Manifests, r.Manifests):
	case all(i.Ref, len(i.Platforms), len(i.Manifests)):
	case i.Ref == r.Ref && len(i.Platforms)*len(r.Platforms) > 0 && len(i.Manifests)+len(r.Manifests) == 0:
		i.Platforms = union(i.Platforms, r.Platforms)
	case i.Ref == r.Ref && len(i.Manifests)*len(r.Manifests) > 0:
		i.Manifests = union(i.Manifests, r.Manifests)
	case len(r.Manifests) > 0 && len(i.Has) > 0 && i.State == Kept:
		i.Ref, i.Platforms, i.Manifests = "", nil, union(i.Has, r.Manifests)
	default:
		i.Ref, i.Platforms, i.Manifests = "", nil, nil
	}
}

func union[T comparable](a, b []T) []T {
	all := slices.Clone(a)
	for _, v := range b {
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

// Selection is the part of the image that is kept. An error says that the
// platforms are none.
func (i *Image) Selection() (image.Selection, error) {
	s := image.Selection{Ref: i.Ref, Manifests: i.Manifests}
	for _, name := range i.Platforms {
		p, err := platforms.Parse(name)
		if err != nil {
			return s, &image.Error{Class: image.Malformed, Op: fmt.Sprintf("read the platform %q", name), Err: err,
				Hint: "write OS/ARCH[/VARIANT], such as linux/arm64"}
		}
		s.Platforms = append(s.Platforms, platforms.Normalize(p))
	}
	return s, nil
}

// complete fetches what is missing of an image, and pins it.
func (k *Keeper) complete(ctx context.Context, i *Image, told func(Progress)) error {
	c, parts, err := k.resolve(ctx, i)
	if err != nil {
		return err
	}
	if err := k.fetch(ctx, i, c, parts, told); err != nil {
		return err
	}
	k.changing.Lock()
	defer k.changing.Unlock()
	gone, err := k.pin(ctx, i, parts)
	if err != nil {
		// What was pinned of it may be nobody's, or another's.
		return errors.Join(err, k.release(context.WithoutCancel(ctx), parts))
	}
	return k.release(context.WithoutCancel(ctx), gone)
}

// resolve finds the parts of an image, which from then on no collection removes, nor
// what lies below its root before. To hold back every collection would fill the disk:
// an addition may have no end.
func (k *Keeper) resolve(ctx context.Context, i *Image) (*image.Closure, []Part, error) {
	k.needs(i.id(), []Part{{CID: i.Root, Mode: Recursive}})
	selection, err := i.Selection()
	if err != nil {
		return nil, nil, err
	}
	c, parts, err := Closure(ctx, k.images, k.blocks, i.Path(), selection, i.Pushed)
	if err != nil {
		return nil, nil, err
	}
	if err := k.admit(ctx, i, c); err != nil {
		return nil, nil, err
	}
	k.needs(i.id(), parts)
	i.Form, i.Whole, i.Size, i.Has = c.Form, whole(parts), c.Size, c.Manifests
	return c, parts, nil
}

// pin pins the parts of an image that is here, and returns those that it no longer
// has. The caller holds changing.
func (k *Keeper) pin(ctx context.Context, i *Image, parts []Part) (gone []Part, err error) {
	if err := k.blocks.Pin(ctx, parts, i.Name); err != nil {
		return nil, err
	}
	kept := *i
	kept.State, kept.Missing, kept.Problem = Kept, nil, ""
	if gone, err = k.ledger.record(ctx, &kept, parts); err == nil {
		*i = kept
	}
	return gone, err
}

// admit refuses what policy does not let be kept.
func (k *Keeper) admit(ctx context.Context, i *Image, c *image.Closure) error {
	if i.Pushed {
		return nil
	}
	if most := k.options.MaxImageSize; most > 0 && c.Size > most {
		return tooLarge(i.Path(), c.Size, most)
	}
	if k.signed != nil {
		if err := k.signed.AdmitAll(ctx, i.Path(), c.Manifests); err != nil {
			return err
		}
	}
	return k.options.Policy.admitKeeping(ctx, i, c)
}

// fits refuses to fetch what the disk could not hold if it were empty; what is here
// may share its blocks. Such an image
// may be one block that repeats itself, of which all could be read and not in any time.
func (k *Keeper) fits(ctx context.Context, i *Image, missing []ocispec.Descriptor) error {
	u, err := k.blocks.Usage(ctx)
	left := u.Total
	for _, desc := range missing {
		left -= min(left, uint64(desc.Size))
	}
	if err != nil || u.Total == 0 || left > 0 || len(missing) == 0 {
		return err
	}
	return &image.Error{Op: "find room for " + i.Path().String(),
		Err:  fmt.Errorf("it has %d bytes, and the disk of the repository has %d in all", i.Size, u.Total),
		Hint: "give the repository a larger disk"}
}

func tooLarge(p image.Path, size, most int64) error {
	return &image.Error{Class: image.Denied, Op: "keep or serve " + p.String(),
		Err:  fmt.Errorf("it has %d bytes, and an image may have %d at most", size, most),
		Hint: "raise pin.max_image_size"}
}

// fetch brings everything that is missing.
func (k *Keeper) fetch(ctx context.Context, i *Image, c *image.Closure, parts []Part, told func(Progress)) error {
	f := &fetching{keeper: k, image: i, told: told}
	missing, err := f.look(ctx, c, parts)
	if err != nil {
		return err
	}
	if err := k.fits(ctx, i, missing); err != nil {
		return err
	}
	if i.State == Incomplete {
		if _, err := k.ledger.record(ctx, i, parts); err != nil {
			return err
		}
	}
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	for _, blob := range missing {
		group.Go(func() error { return f.blob(within, blob) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, p := range parts {
		if p.Mode == Covered {
			continue
		}
		if err := k.blocks.Fetch(ctx, p.CID, p.Mode); err != nil {
			return err
		}
	}
	return nil
}

// fetching is the fetching of the blobs of one image.
type fetching struct {
	keeper *Keeper
	image  *Image
	told   func(Progress)

	mu       sync.Mutex
	progress Progress
	last     time.Time
}

// look finds the blobs that are not here.
func (f *fetching) look(ctx context.Context, c *image.Closure, parts []Part) ([]ocispec.Descriptor, error) {
	here := map[digest.Digest]bool{}
	for _, p := range parts {
		if p.Digest == "" {
			continue
		}
		whole, err := f.keeper.blocks.Whole(ctx, p.CID, Recursive)
		if err != nil {
			return nil, err
		}
		here[p.Digest] = whole
	}
	var missing []ocispec.Descriptor
	f.image.Missing = nil
	for _, blob := range c.Blobs {
		f.progress.Blobs++
		f.progress.Total += blob.Size
		if here[blob.Digest] {
			f.progress.BlobsDone++
			f.progress.Done += blob.Size
			continue
		}
		missing = append(missing, blob.Descriptor)
		f.image.Missing = append(f.image.Missing, Blob{blob.Digest, blob.Size})
	}
	f.tell(true)
	return missing, nil
}

// blob reads a blob to its end, which leaves it here and proves its digest.
func (f *fetching) blob(ctx context.Context, desc ocispec.Descriptor) error {
	content, err := f.keeper.images.Blob(ctx, f.image.Path(), desc.Digest)
	if err != nil {
		return err
	}
	defer content.Close()
	if e, ok := content.File.(image.Expecter); ok {
		e.Expect(content.Size())
	}
	if _, err := io.Copy(counting{f}, struct{ io.Reader }{content}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.progress.BlobsDone++
	f.image.Missing = slices.DeleteFunc(f.image.Missing, func(b Blob) bool { return b.Digest == desc.Digest })
	f.tell(true)
	if f.image.State != Incomplete {
		return nil
	}
	return f.keeper.ledger.Update(ctx, f.image)
}

// counting counts what is written to it.
type counting struct{ *fetching }

func (c counting) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress.Done += int64(len(p))
	c.tell(false)
	return len(p), nil
}

// tellEvery is how often a caller is told of the progress.
const tellEvery = 100 * time.Millisecond

// tell needs mu, or nobody else at work.
func (f *fetching) tell(now bool) {
	if f.told != nil && (now || time.Since(f.last) > tellEvery) {
		f.last = time.Now()
		f.told(f.progress)
	}
}

// failed notes why an image is incomplete, or forgets it if it never can be
// anything else.
func (k *Keeper) failed(ctx context.Context, i, had *Image, err error) error {
	ctx = context.WithoutCancel(ctx)
	switch {
	case isEnded(err):
		return fmt.Errorf("keep %s: %w", i.Path(), err)
	case had != nil && had.State == Kept:
		return fmt.Errorf("keep more of %s, which stays as it is: %w", i.Path(), err)
	case had == nil && slices.Contains([]image.Class{image.NotFound, image.NotImage, image.Malformed, image.Denied}, image.ClassOf(err)):
		return errors.Join(fmt.Errorf("keep %s: %w", i.Path(), err), k.drop(ctx, i))
	}
	i.Problem = err.Error()
	if failed := k.ledger.Update(ctx, i); failed != nil {
		err = errors.Join(err, failed)
	}
	return fmt.Errorf("keep %s, which is listed as incomplete and goes on when it is added again or the daemon runs: %w", i.Path(), err)
}
