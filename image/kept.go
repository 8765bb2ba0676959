package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// maxKeptDigests bounds the digests of an index of what is kept, about 200
// bytes each.
const maxKeptDigests = 1 << 18

// Keeper knows what is kept on this machine.
type Keeper interface {
	// Kept returns the paths of what is kept, images or not, in any order, and
	// state, which differs whenever they do. With the state that it had before
	// it may return no paths. It asks no network.
	Kept(ctx context.Context, before string) (paths []Path, state string, err error)
}

// Keepers are several of them as one.
type Keepers []Keeper

// Kept implements Keeper.
func (ks Keepers) Kept(ctx context.Context, before string) (paths []Path, state string, err error) {
	states := make([]string, len(ks))
	for i, k := range ks {
		some, one, err := k.Kept(ctx, "")
		if err != nil {
			return nil, "", err
		}
		paths, states[i] = append(paths, some...), strconv.Quote(one)
	}
	if state = strings.Join(states, " "); state == before {
		return nil, state, nil
	}
	return paths, state, nil
}

// Kept finds the image that has a digest among those that are kept here. It is
// safe for concurrent use.
type Kept struct {
	keeper Keeper
	here   *Resolver
	log    *slog.Logger

	// reading is held by the one that brings the rest up to date; a channel,
	// so that a client that goes away stops waiting for it. It guards state, and
	// read, the digests of each path as it was then.
	reading chan struct{}
	state   string
	read    map[Path][]digest.Digest

	mu     sync.Mutex
	images map[digest.Digest]Path
}

// NewKept returns the index of what keeper keeps. here resolves images from
// blocks on the disk alone, at once.
func NewKept(keeper Keeper, here *Resolver, log *slog.Logger) *Kept {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Kept{keeper: keeper, here: here, log: log, reading: make(chan struct{}, 1)}
}

// Find returns a kept image that has the digest; the error is NotFound when
// there is none.
func (k *Kept) Find(ctx context.Context, dgst digest.Digest) (Path, error) {
	if err := k.update(ctx); err != nil {
		return Path{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if p, ok := k.images[dgst]; ok {
		return p, nil
	}
	return Path{}, &Error{Class: NotFound, Op: fmt.Sprintf("find %s", dgst), Err: errors.New("no image that is kept here has it")}
}

// update reads the images that were not kept before, and forgets those that are
// no longer.
func (k *Kept) update(ctx context.Context) error {
	select {
	case k.reading <- struct{}{}:
		defer func() { <-k.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx = context.WithoutCancel(ctx) // what is read is read for the next one too
	paths, state, err := k.keeper.Kept(ctx, k.state)
	if err != nil {
		return fmt.Errorf("look what is kept: %w", err)
	}
	if state == k.state {
		return nil
	}
	now := make(map[Path][]digest.Digest, len(paths))
	for _, p := range paths {
		digests, ok := k.read[p]
		if !ok {
			digests = k.digests(ctx, p)
		}
		now[p] = digests
	}
	k.state, k.read = state, now
	k.index()
	return nil
}

// digests are those of what is at p, none if that is no image or not all here.
func (k *Kept) digests(ctx context.Context, p Path) []digest.Digest {
	all, err := k.here.digests(ctx, p)
	if err != nil && ClassOf(err) != NotImage {
		k.log.Warn("what is kept here is not answered for as a mirror", "path", p, "error", err)
	}
	return all
}

func (k *Kept) index() {
	images := map[digest.Digest]Path{}
	for p, digests := range k.read {
		for _, dgst := range digests {
			if len(images) < maxKeptDigests {
				images[dgst] = p
			}
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.images = images
}

// digests returns the digests of the image at p, but for manifests that are not
// there.
func (r *Resolver) digests(ctx context.Context, p Path) ([]digest.Digest, error) {
	im, err := r.resolve(ctx, p)
	if err != nil {
		return nil, err
	}
	for _, tag := range im.tags() {
		if _, err := im.choose(ctx, tag); err != nil && ClassOf(err) != NotFound {
			return nil, err
		}
	}
	err = im.readAll(ctx)
	return im.table.digests(), err
}
