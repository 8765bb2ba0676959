package pin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// maxPulled bounds the images that wait to be kept.
const maxPulled = 1024

// keepPulled begins to keep the images whose pull seems to be over, and returns when
// the next may be.
func (k *Keeper) keepPulled(ctx context.Context, beside *errgroup.Group) time.Duration {
	over, next := k.pullsOver()
	for _, id := range over {
		k.begin(beside, id, func() { k.warn(ctx, "keep what was pulled", k.keepPull(ctx, id)) })
	}
	return next
}

func (k *Keeper) pullsOver() (over []string, next time.Duration) {
	next = lookEvery
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, p := range k.pulled {
		left := quiet - time.Since(p.last)
		if k.readers[id] > 0 {
			left = quiet
		}
		if left > 0 {
			next = min(next, left)
		} else if k.isFree(id) && time.Now().After(k.later[id].at) {
			over = append(over, id)
		}
	}
	return over, next
}

// pullOf returns what was pulled of an image, nil if nothing was.
func (k *Keeper) pullOf(id string) *pull {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.pulled[id]
	if p == nil {
		return nil
	}
	return &pull{p.path, slices.Clone(p.manifests), p.last}
}

// seenTo forgets what was pulled but for the manifests that are left, and for what
// was pulled meanwhile.
func (k *Keeper) seenTo(was *pull, left []digest.Digest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := idOf(was.path)
	p := k.pulled[id]
	if p == nil {
		return
	}
	p.manifests = slices.DeleteFunc(p.manifests, func(d digest.Digest) bool {
		return slices.Contains(was.manifests, d) && !slices.Contains(left, d)
	})
	if p.last.Equal(was.last) && len(p.manifests) == 0 {
		delete(k.pulled, id)
	}
}

// forgetPull forgets what was pulled of an image that is let go of: it does not come
// back for that.
func (k *Keeper) forgetPull(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.pulled, id)
}

// keepPull keeps what was pulled.
func (k *Keeper) keepPull(ctx context.Context, id string) error {
	p := k.pullOf(id)
	if p == nil {
		return nil
	}
	i, err := k.touch(ctx, p)
	var left []digest.Digest
	// The rest of an image that was asked for by name was not asked for. What was seen
	// to before, and read again meanwhile, has no manifests.
	if err == nil && k.options.OnPull && len(p.manifests) > 0 && (i == nil || !i.Explicit && !i.covers(p.manifests)) {
		left, err = k.keepManifests(ctx, i, p)
	}
	k.seenTo(p, left)
	return err
}

// keepManifests keeps what was pulled of an image, and returns what has to be tried
// again: not what is listed as incomplete then, but what is kept already stays as it
// is if another part of it can't be had, of which none is to stand in another's way.
func (k *Keeper) keepManifests(ctx context.Context, i *Image, p *pull) (left []digest.Digest, err error) {
	if i == nil || i.State != Kept {
		_, err := k.addPull(ctx, p.path, p.manifests)
		return nil, err
	}
	for _, d := range p.manifests {
		if i.covers([]digest.Digest{d}) {
			continue
		}
		again, failed := k.addPull(ctx, p.path, []digest.Digest{d})
		if again {
			left = append(left, d)
		}
		err = errors.Join(err, failed)
	}
	return left, err
}

// addPull reports too whether what failed may succeed another time.
func (k *Keeper) addPull(ctx context.Context, p image.Path, manifests []digest.Digest) (again bool, err error) {
	_, err = k.Add(ctx, Request{Path: p, Manifests: manifests, Pulled: true, noted: true}, nil)
	if err == nil || passes(err) && ctx.Err() == nil {
		k.tried(idOf(p), err)
	}
	return passes(err) || errors.Is(err, errTaken), err
}

// passes reports whether what failed may succeed another time.
func passes(err error) bool {
	class := image.ClassOf(err)
	return err != nil && !isEnded(err) && (class == 0 || class == image.Unavailable)
}

// covers reports whether manifests are kept, or will be when i is complete.
func (i *Image) covers(dgsts []digest.Digest) bool {
	has := i.Has
	if i.State == Incomplete {
		has = i.Manifests
	}
	return i.State == Incomplete && len(has) == 0 ||
		!slices.ContainsFunc(dgsts, func(d digest.Digest) bool { return !slices.Contains(has, d) })
}

// touch notes when an image was pulled, and returns it, or nil if it is not kept.
func (k *Keeper) touch(ctx context.Context, p *pull) (*Image, error) {
	end, err := k.claim(ctx, idOf(p.path), waits)
	if err != nil {
		return nil, err
	}
	defer end()
	i, err := k.ledger.Get(ctx, p.path)
	if err != nil || i == nil {
		return nil, err
	}
	i.Pulled = p.last.UTC()
	return i, k.ledger.Update(ctx, i)
}

// expire lets go of the images that were pulled too long ago, and of those that
// are over the quota.
func (k *Keeper) expire(ctx context.Context) error {
	if k.options.Retain <= 0 && k.options.Quota <= 0 {
		return nil
	}
	evictable, err := k.evictable(ctx)
	if err != nil {
		return err
	}
	for len(evictable) > 0 && k.options.Retain > 0 && time.Since(evictable[0].Pulled) > k.options.Retain {
		if _, err := k.evict(ctx, evictable[0], "it was not pulled for longer than pin.retain"); err != nil {
			return err
		}
		evictable = evictable[1:]
	}
	for k.options.Quota > 0 && len(evictable) > 0 {
		size, err := k.ledger.Size(ctx)
		if err != nil || size <= k.options.Quota {
			return err
		}
		if _, err := k.evict(ctx, evictable[0], "the images take more than pin.quota"); err != nil {
			return err
		}
		evictable = evictable[1:]
	}
	return nil
}

// evictable are the images that were pulled, the least recent first, with no
// more of each than who lets go of it wants to know.
func (k *Keeper) evictable(ctx context.Context) ([]*Image, error) {
	var all []*Image
	for i, err := range k.ledger.All(ctx) {
		if err != nil {
			return nil, err
		}
		if !i.Explicit {
			all = append(all, &Image{Root: i.Root, Rest: i.Rest, Name: i.Name, Size: i.Size, Pulled: k.lastPulled(i)})
		}
	}
	slices.SortStableFunc(all, func(a, b *Image) int { return a.Pulled.Compare(b.Pulled) })
	return all, nil
}

// evict lets go of an image that was evictable, if it still is. A collection may have
// taken minutes, and meanwhile it was pulled, or somebody asked for it by name.
func (k *Keeper) evict(ctx context.Context, was *Image, why string) (evicted bool, err error) {
	if is, err := k.isEvictable(ctx, was); err != nil || !is {
		return false, err
	}
	end, err := k.claim(ctx, was.id(), evicts)
	if errors.Is(err, errWanted) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer end()
	k.changing.Lock()
	defer k.changing.Unlock()
	if is, err := k.isEvictable(ctx, was); err != nil || !is {
		return false, err
	}
	k.options.Log.Info("letting go of an image", "image", was.Name, "bytes", was.Size, "why", why)
	k.forgetPull(was.id())
	return true, k.letGo(ctx, was)
}

func (k *Keeper) isEvictable(ctx context.Context, was *Image) (bool, error) {
	i, err := k.ledger.Get(ctx, was.Path())
	return i != nil && !i.Explicit && !k.lastPulled(i).After(was.Pulled), err
}

// lastPulled is when an image was last pulled, which the ledger may not know yet.
func (k *Keeper) lastPulled(i *Image) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := i.Pulled
	if p := k.pulled[i.id()]; p != nil && p.last.After(last) {
		last = p.last
	}
	if k.readers[i.id()] > 0 {
		last = time.Now()
	}
	return last
}

// makeRoom collects garbage while the disk is fuller than it should be, and lets
// go of what was pulled if that is not enough.
func (k *Keeper) makeRoom(ctx context.Context) error {
	full, err := k.isFull(ctx)
	if err != nil || !full {
		return err
	}
	if err := k.collectLogged(ctx); err != nil {
		return err
	}
	evictable, err := k.evictable(ctx)
	if err != nil {
		return err
	}
	for _, i := range evictable {
		if full, err = k.isFull(ctx); err != nil || !full {
			return err
		}
		evicted, err := k.evict(ctx, i, "the disk is full")
		if err != nil {
			return err
		}
		if !evicted {
			continue
		}
		if err := k.collectLogged(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) isFull(ctx context.Context) (bool, error) {
	if k.options.Watermark <= 0 {
		return false, nil
	}
	u, err := k.blocks.Usage(ctx)
	if err != nil || u.Total == 0 {
		return false, err
	}
	return (u.Total-u.Free)*100 > u.Total*uint64(k.options.Watermark), nil
}

func (k *Keeper) collectLogged(ctx context.Context) error {
	began := time.Now()
	freed, err := k.Collect(ctx, false)
	if err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	k.options.Log.Info("collected garbage", "blocks", freed.Blocks, "bytes", freed.Bytes, "kept", freed.Kept, "took", time.Since(began))
	return nil
}
