package pin

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	// lookEvery is how often a Keeper looks for what there is to do.
	lookEvery = 15 * time.Second
	// quiet is how long an image is left alone after its pull, which brings
	// most of it by itself.
	quiet = 2 * time.Second
	// maxReading is how long it may be left alone for one that reads from it.
	maxReading = time.Minute
	// The pauses after the first and after later failures of an image.
	firstPause, maxPause = 10 * time.Second, 10 * time.Minute
	// maxBeside is how many images are brought at once.
	maxBeside = 4
)

// retry is when an image that is incomplete is tried again.
type retry struct {
	at    time.Time
	pause time.Duration
}

// pull is what has been pulled of an image lately.
type pull struct {
	path      image.Path
	manifests []digest.Digest
	last      time.Time
}

// Run does what nobody waits for, until ctx ends: it goes on with what is
// incomplete and keeps what was pulled, some images beside each other, as one may
// never come to its end; meanwhile it lets go of what has had its time, and makes
// room on the disk.
func (k *Keeper) Run(ctx context.Context) {
	k.warn(ctx, "repair the pins of the images that are kept", k.reconcile(ctx))
	var others, beside errgroup.Group
	others.Go(func() error { k.scrub(ctx); return nil })
	others.Go(func() error { every(ctx, k.wakeTidy, k.tidy); return nil })
	every(ctx, k.wakeBring, func(ctx context.Context) time.Duration { return k.bring(ctx, &beside) })
	_ = errors.Join(beside.Wait(), others.Wait()) // they have none
}

// every does something until ctx ends: at once, when the pause is over that it
// returned, and when it is woken.
func every(ctx context.Context, woken <-chan struct{}, do func(context.Context) (pause time.Duration)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-woken:
		case <-timer.C:
		}
		timer.Reset(do(ctx))
	}
}

// Wake makes Run look for room at once, as when the disk is full.
func (k *Keeper) Wake() { wake(k.wakeTidy) }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tidy makes room, and returns when to look again.
func (k *Keeper) tidy(ctx context.Context) time.Duration {
	k.warn(ctx, "make room on the disk", k.makeRoom(ctx))
	k.warn(ctx, "let go of images", k.expire(ctx))
	return lookEvery
}

// bring begins to make images complete, and returns when to look again.
func (k *Keeper) bring(ctx context.Context, beside *errgroup.Group) time.Duration {
	next := k.keepPulled(ctx, beside)
	k.warn(ctx, "go on with what is incomplete", k.resume(ctx, beside))
	return next
}

// begin does something for an image beside the others, unless something is being
// done for it, or for too many. When it is done there may be room for the next, or
// too much was brought.
func (k *Keeper) begin(beside *errgroup.Group, id string, do func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bringing[id] || len(k.bringing) >= maxBeside {
		return
	}
	k.bringing[id] = true
	beside.Go(func() error { do(); k.brought(id); return nil })
}

func (k *Keeper) brought(id string) {
	k.mu.Lock()
	delete(k.bringing, id)
	k.mu.Unlock()
	k.Wake()
	wake(k.wakeBring)
}

// warn tells of what failed, which an addition did not that others have ended.
func (k *Keeper) warn(ctx context.Context, op string, err error) {
	if err != nil && ctx.Err() == nil && !isEnded(err) {
		k.options.Log.Warn("could not "+op, "error", err)
	}
}

// reconcile makes the pins those of the ledger: a crash may have come between
// the two.
func (k *Keeper) reconcile(ctx context.Context) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	pinned := map[cid.Cid]bool{}
	var stale []cid.Cid
	for p, err := range k.blocks.Pins(ctx) {
		if err != nil {
			return err
		}
		mode, needed, err := k.ledger.Needed(ctx, p.CID)
		if err != nil {
			return err
		}
		if !needed || mode == Covered {
			stale = append(stale, p.CID)
		}
		pinned[p.CID] = true
	}
	if len(stale) > 0 {
		k.options.Log.Info("removing pins of images that are not kept", "pins", len(stale))
		if err := k.blocks.Unpin(ctx, stale); err != nil {
			return err
		}
	}
	for i, err := range k.ledger.All(ctx) {
		if err != nil {
			return err
		}
		if err := k.repin(ctx, i, pinned); err != nil {
			return err
		}
	}
	return nil
}

// repin pins what an image has lost the pins of.
func (k *Keeper) repin(ctx context.Context, i *Image, pinned map[cid.Cid]bool) error {
	if i.State != Kept || i.Whole && pinned[i.Root] {
		return nil
	}
	parts, err := k.ledger.Parts(ctx, i.Path())
	if err != nil || !slices.ContainsFunc(parts, func(p Part) bool { return p.Mode != Covered && !pinned[p.CID] }) {
		return err
	}
	if err := k.blocks.Pin(ctx, parts, i.Name); err != nil {
		i.State, i.Problem = Incomplete, err.Error()
		return k.ledger.Update(ctx, i)
	}
	return nil
}

// resume goes on with the images that are incomplete.
func (k *Keeper) resume(ctx context.Context, beside *errgroup.Group) error {
	for i, err := range k.ledger.All(ctx) {
		if err != nil {
			return err
		}
		if i.State != Kept && ctx.Err() == nil && k.due(i.id()) {
			k.begin(beside, i.id(), func() { k.goOn(ctx, i) })
		}
	}
	return nil
}

func (k *Keeper) goOn(ctx context.Context, i *Image) {
	_, err := k.Add(ctx, Request{Path: i.Path(), resumed: true}, nil)
	if ctx.Err() != nil || isEnded(err) {
		return
	}
	k.tried(i.id(), err)
	if err == nil {
		k.options.Log.Info("an image is kept whole now", "image", i.Name)
	} else {
		k.options.Log.Info("an image stays incomplete for now", "image", i.Name, "error", err)
	}
}

// isEnded reports whether others have ended an addition.
func isEnded(err error) bool { return errors.Is(err, errLetGo) || errors.Is(err, errTaken) }

// isFree reports whether nobody adds an image, or is about to. It needs Keeper.mu.
func (k *Keeper) isFree(id string) bool { return k.adding[id] == nil && k.asked[id] == 0 }

// due reports whether it is time to try an image again, and nobody does.
func (k *Keeper) due(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.isFree(id) && time.Now().After(k.later[id].at)
}

func (k *Keeper) tried(id string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		delete(k.later, id)
		return
	}
	pause := min(max(2*k.later[id].pause, firstPause), maxPause)
	k.later[id] = retry{time.Now().Add(pause), pause}
}

// reading leaves the image at p alone until ctx ends.
func (k *Keeper) reading(ctx context.Context, p image.Path) {
	id := idOf(p)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.readers[id]++
	ctx, cancel := context.WithTimeout(ctx, maxReading)
	context.AfterFunc(ctx, func() {
		cancel()
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.readers[id]--; k.readers[id] == 0 {
			delete(k.readers, id)
		}
		if noted := k.pulled[id]; noted != nil {
			noted.last = time.Now()
		}
	})
}

// noteManifest notes that something below a manifest was pulled.
func (k *Keeper) noteManifest(p image.Path, dgst digest.Digest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := idOf(p)
	if k.pulled[id] == nil {
		if len(k.pulled) >= maxPulled {
			return
		}
		k.pulled[id] = &pull{path: p}
		defer wake(k.wakeBring)
	}
	noted := k.pulled[id]
	if !slices.Contains(noted.manifests, dgst) {
		noted.manifests = append(noted.manifests, dgst)
	}
	noted.last = time.Now()
}
