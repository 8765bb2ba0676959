package pin

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Guard answers about the images that policy lets be served, and notes what is
// pulled. Any other question ends in an error of the class Denied.
type Guard struct {
	images Images
	keeper *Keeper
	policy *Policy
	// known are the manifests that went through, and above of which of them a
	// blob is a layer.
	known *lru.Cache[digest.Digest, *summary]
	above *lru.Cache[layer, digest.Digest]
	// admitted are the digests that the list admits below a path.
	admitted *lru.Cache[image.Path, *admission]
}

// layer is a layer of the image at a path.
type layer struct {
	path image.Path
	dgst digest.Digest
}

// admission is what a list of digests admits of one image.
type admission struct {
	list  fileState
	dgsts map[digest.Digest]bool
}

// summary is what a Guard wants to know of a manifest.
type summary struct {
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Blobs     []ocispec.Descriptor `json:"blobs"` // of an artifact of OCI 1.1's drafts
	Manifests []ocispec.Descriptor `json:"manifests"`
}

// size is the sum of the sizes below. A manifest may name a blob again and again,
// so the sum stops far from where it would become negative.
func (s *summary) size() int64 {
	var size int64
	for _, desc := range s.below() {
		size = min(size+desc.Size, math.MaxInt64/2)
	}
	return size
}

// below are the descriptors that are no manifests of an index.
func (s *summary) below() []ocispec.Descriptor {
	var all []ocispec.Descriptor
	if s.Config != nil {
		all = append(all, *s.Config)
	}
	return slices.Concat(all, s.Layers, s.Blobs)
}

const (
	// keptSummaries and maxSummarized, in bytes of the manifest, bound the memory
	// that a Guard takes for summaries to 64 MiB. A larger manifest, of a hundred
	// layers and more, is read anew.
	keptSummaries = 4096
	maxSummarized = 16 << 10
)

// Guard returns images with the Keeper's policy in front of them.
func (k *Keeper) Guard(images Images) *Guard {
	g := &Guard{images: images, keeper: k, policy: k.options.Policy}
	var errs [3]error
	g.known, errs[0] = lru.New[digest.Digest, *summary](keptSummaries)
	g.above, errs[1] = lru.New[layer, digest.Digest](8 * keptSummaries)
	g.admitted, errs[2] = lru.New[image.Path, *admission](keptSummaries / 8)
	if err := errors.Join(errs[:]...); err != nil {
		panic(err) // the sizes are positive constants
	}
	return g
}

// Manifest implements Images.
func (g *Guard) Manifest(ctx context.Context, p image.Path, ref string) (*image.Content, error) {
	dgst, err := digest.Parse(ref)
	if err != nil {
		dgst = "" // a tag, of which the digest is known only when it is resolved
	}
	all, err := g.admit(ctx, p, dgst)
	if err != nil {
		return nil, err
	}
	c, err := g.images.Manifest(ctx, p, ref)
	if err != nil {
		return nil, err
	}
	if !all {
		_, err = g.admit(ctx, p, c.Descriptor.Digest)
	}
	if err == nil {
		err = g.look(p, c)
	}
	if err != nil {
		_ = c.Close() // only read
		return nil, err
	}
	return c, nil
}

// look reads a manifest that is about to be served.
func (g *Guard) look(p image.Path, c *image.Content) error {
	s, err := g.summarize(c)
	if err != nil {
		return err
	}
	if most := g.keeper.options.MaxImageSize; most > 0 && s.size() > most {
		return tooLarge(p, s.size(), most)
	}
	for _, l := range s.Layers {
		g.above.Add(layer{p, l.Digest}, c.Descriptor.Digest)
	}
	return nil
}

func (g *Guard) summarize(c *image.Content) (*summary, error) {
	if s, ok := g.known.Get(c.Descriptor.Digest); ok {
		return s, nil
	}
	s, err := summarize(c)
	if err == nil && len(c.Document) <= maxSummarized {
		g.known.Add(c.Descriptor.Digest, s)
	}
	return s, err
}

// summarize looks at a manifest that somebody may or may not pull then.
func summarize(c *image.Content) (*summary, error) {
	s := &summary{}
	if err := json.Unmarshal(c.Document, s); err != nil {
		return nil, &image.Error{Class: image.NotImage, Op: "read the manifest " + c.Descriptor.Digest.String(), Err: err}
	}
	return s, nil
}

// Blob implements Images. An image is not kept for having been pulled while the
// context of a request for a layer of it goes on.
func (g *Guard) Blob(ctx context.Context, p image.Path, dgst digest.Digest) (*image.Content, error) {
	if _, err := g.admit(ctx, p, dgst); err != nil {
		return nil, err
	}
	manifest, pulled := g.above.Get(layer{p, dgst})
	if pulled {
		g.keeper.reading(ctx, p)
	}
	c, err := g.images.Blob(ctx, p, dgst)
	if err != nil {
		return nil, err
	}
	if most := g.keeper.options.MaxImageSize; most > 0 && c.Size() > most {
		_ = c.Close() // only read
		return nil, tooLarge(p, c.Size(), most)
	}
	if pulled {
		g.keeper.noteManifest(p, manifest)
	}
	return c, nil
}

// Referrers implements Images.
func (g *Guard) Referrers(ctx context.Context, p image.Path, dgst digest.Digest) ([]ocispec.Descriptor, error) {
	if _, err := g.admit(ctx, p, dgst); err != nil {
		return nil, err
	}
	return g.images.Referrers(ctx, p, dgst)
}

// Tags implements Images.
func (g *Guard) Tags(ctx context.Context, p image.Path) ([]string, error) {
	if _, err := g.admit(ctx, p, ""); err != nil {
		return nil, err
	}
	return g.images.Tags(ctx, p)
}

// Knows implements Images.
func (g *Guard) Knows(p image.Path, dgst digest.Digest) bool { return g.images.Knows(p, dgst) }

// admit decides about a digest of the image at p, or with none about whether
// there may be something of it. all says that everything below p is admitted.
func (g *Guard) admit(ctx context.Context, p image.Path, dgst digest.Digest) (all bool, err error) {
	all, err = g.admitServed(ctx, p, dgst)
	if err != nil || g.keeper.signed == nil {
		return all, err
	}
	return false, g.keeper.signed.Admit(ctx, p, dgst)
}

func (g *Guard) admitServed(ctx context.Context, p image.Path, dgst digest.Digest) (all bool, err error) {
	if g.policy.open() {
		return true, nil
	}
	if g.policy.Serve == ServeList {
		return g.admitListed(ctx, p, dgst)
	}
	i, err := g.keeper.ledger.keptAt(ctx, p)
	if err != nil {
		return false, err
	}
	if i == nil {
		return false, NotPinned(p)
	}
	if i.Whole || dgst == "" || slices.Contains(i.Has, dgst) {
		return i.Whole, nil
	}
	parts, err := g.keeper.ledger.Parts(ctx, i.Path())
	if err == nil && !slices.ContainsFunc(parts, func(part Part) bool { return part.Digest == dgst }) {
		err = NotPinned(p)
	}
	return false, err
}

func (g *Guard) admitListed(ctx context.Context, p image.Path, dgst digest.Digest) (all bool, err error) {
	list, err := g.policy.listed()
	if err != nil || list.roots[p.Root] {
		return true, err
	}
	if len(list.dgsts) == 0 {
		return false, deniedByList("serve", p, g.policy.List)
	}
	if slices.Contains(list.dgsts, dgst) {
		return false, nil
	}
	set, err := g.below(ctx, p, list)
	if err != nil {
		return false, err
	}
	if len(set) == 0 || dgst != "" && !set[dgst] {
		return false, deniedByList("serve", p, g.policy.List)
	}
	return false, nil
}

// below are the listed digests that the image at p has, and all below them.
func (g *Guard) below(ctx context.Context, p image.Path, list *listing) (map[digest.Digest]bool, error) {
	if a, ok := g.admitted.Get(p); ok && a.list == list.state {
		return a.dgsts, nil
	}
	set := map[digest.Digest]bool{}
	for _, dgst := range list.dgsts {
		err := g.collect(ctx, p, dgst, set)
		if err != nil && image.ClassOf(err) != image.NotFound {
			return nil, err
		}
	}
	g.admitted.Add(p, &admission{list.state, set})
	return set, nil
}

// collect adds a manifest and what is below it to set. A child that is not
// there is passed over.
func (g *Guard) collect(ctx context.Context, p image.Path, dgst digest.Digest, set map[digest.Digest]bool) error {
	if set[dgst] {
		return nil
	}
	c, err := g.images.Manifest(ctx, p, dgst.String())
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := g.summarize(c)
	if err != nil {
		return err
	}
	set[dgst] = true
	for _, desc := range s.below() {
		set[desc.Digest] = true
	}
	for _, child := range s.Manifests {
		if err := g.collect(ctx, p, child.Digest, set); err != nil && image.ClassOf(err) != image.NotFound {
			return err
		}
	}
	return nil
}
