package pin

import (
	"context"
	"errors"
)

// addition is an Add under way, or another who changes an image.
type addition struct {
	done   chan struct{}
	cancel context.CancelCauseFunc // nil while nothing can be cancelled
	as     claimant
	over   error  // why it is to end
	parts  []Part // what a collection is to leave alone for it
}

// claimant is who claims an image, by what becomes of an addition of it under way.
type claimant int

const (
	waits   claimant = iota // for its end: nobody waits for this one
	asks                    // ends it if nobody waits for it, and goes on in its place
	evicts                  // ends it, unless somebody asks
	removes                 // ends it
)

var (
	// errWanted is why an image can't be claimed to be evicted.
	errWanted = errors.New("somebody asks for the image by name")
	// errLetGo is why an addition ended of what is no longer to be kept.
	errLetGo = errors.New("it was let go of meanwhile")
	// errTaken is why an addition ended that another goes on with.
	errTaken = errors.New("somebody asks for the image by name, and goes on with it")
)

// claim makes the caller the only one that changes an image, until it calls
// end.
func (k *Keeper) claim(ctx context.Context, id string, as claimant) (end func(), err error) {
	unask := func() {}
	if as == asks {
		unask = k.ask(id)
	}
	for {
		mine, other, err := k.take(id, as)
		if err != nil {
			return nil, err
		}
		if mine != nil {
			return func() { k.give(id, mine); unask() }, nil
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			unask()
			return nil, ctx.Err()
		}
	}
}

// ask notes that somebody asks for an image by name, until unask is called.
func (k *Keeper) ask(id string) (unask func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked[id]++
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.asked[id]--; k.asked[id] == 0 {
			delete(k.asked, id)
		}
	}
}

// take is claim for one who finds that nobody changes the image; else it returns who
// does, and has that one end if it is to.
func (k *Keeper) take(id string, as claimant) (mine, other *addition, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if as == evicts && k.asked[id] > 0 {
		return nil, nil, errWanted
	}
	switch other = k.adding[id]; {
	case other == nil:
		mine = &addition{done: make(chan struct{}), as: as}
		k.adding[id] = mine
	case as >= evicts:
		other.end(errLetGo)
	case as == asks && other.as == waits:
		other.end(errTaken)
	}
	return mine, other, nil
}

func (k *Keeper) give(id string, mine *addition) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.adding, id)
	close(mine.done)
}

// end ends an addition, be it only about to begin. It needs Keeper.mu.
func (a *addition) end(why error) {
	if a.over = why; a.cancel != nil {
		a.cancel(why)
	}
}

// cancellable returns a context that others who claim the image cancel, with why.
func (k *Keeper) cancellable(ctx context.Context, id string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.adding[id]
	if a.cancel = cancel; a.over != nil {
		cancel(a.over)
	}
	return ctx, func() { cancel(nil) }
}

// needs notes what a collection is to leave alone for an addition under way.
func (k *Keeper) needs(id string, parts []Part) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.adding[id].parts = parts
}

// underWay are the parts of the additions under way.
func (k *Keeper) underWay() (parts []Part) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.adding {
		parts = append(parts, a.parts...)
	}
	return parts
}
