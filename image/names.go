package image

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"golang.org/x/sync/singleflight"
)

const (
	// keptNames is of how many names it is remembered where they led.
	keptNames = 128
	// keptVersions is how many places a name is remembered to have led to, and
	// versionAge how long one is after it was last asked for: a pull that began
	// before the name moved ends with what it began with.
	keptVersions = 8
	versionAge   = 2 * time.Hour
	// maxTTL bounds how long an answer is good, whatever it says itself.
	maxTTL = 10 * time.Minute
	// patience is how long a name that led somewhere before may take to be
	// resolved again, and retryAfter how long it is left alone when it can't be.
	patience   = 5 * time.Second
	retryAfter = 10 * time.Second
)

// Pointer is where a name leads.
type Pointer struct {
	Path Path
	// TTL is how long that may be taken for granted.
	TTL time.Duration
}

// NameSystem finds out where names lead, each time anew. The errors are of the
// classes of [Error]; they come within a bound.
type NameSystem interface {
	ResolveName(ctx context.Context, name string) (Pointer, error)
}

// Version is what a name led to at some time.
type Version struct {
	Path Path
	// Stale is why the name could not be resolved again, nil if it could; Path
	// is then the last that it led to, at Since.
	Stale error
	Since time.Time
}

// Names remembers where names lead, and where they led of late. It is safe for
// concurrent use.
type Names struct {
	system  NameSystem
	store   datastore.Datastore
	log     *slog.Logger
	running singleflight.Group

	mu      sync.Mutex
	history *lru.Cache[string, *history]
}

// history is what is known of one name. Its fields are guarded by Names.mu.
type history struct {
	versions []version // the newest first
	fresh    time.Time // until when the newest is good
	since    time.Time // when it was last found to be so
	failed   error     // why the last attempt led nowhere
}

// version is one of the places that a name led to.
type version struct {
	path Path
	used time.Time
}

// NewNames returns Names of system. The last place of each name is kept in
// store, so that it outlives the process; the caller closes it.
func NewNames(system NameSystem, store datastore.Datastore, log *slog.Logger) *Names {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	n := &Names{system: system, store: store, log: log}
	var err error
	if n.history, err = lru.NewWithEvict(keptNames, func(name string, _ *history) { n.forget(name) }); err != nil {
		panic(err) // the size is a positive constant
	}
	return n
}

// Current returns what m leads to now. Where the name can't be resolved again it
// is what it led to last.
func (n *Names) Current(ctx context.Context, m Moving) (Version, error) {
	n.load(ctx, m.Name)
	if v, ok := n.known(m.Name, true); ok {
		return v.below(m), nil
	}
	done := n.running.DoChan(m.Name, func() (any, error) {
		return nil, n.refresh(context.WithoutCancel(ctx), m.Name)
	})
	wait, cancel := n.patience(ctx, m.Name)
	defer cancel()
	var err error
	select {
	case res := <-done:
		err = res.Err
	case <-wait.Done():
		err = fmt.Errorf("no answer in %s", patience)
	}
	if ctx.Err() != nil {
		return Version{}, ctx.Err()
	}
	v, ok := n.known(m.Name, false)
	if !ok {
		return Version{}, err
	}
	if v.Stale == nil {
		v.Stale = err
	}
	return v.below(m), nil
}

// Recent returns what m led to of late, the newest first.
func (n *Names) Recent(m Moving) []Path {
	n.mu.Lock()
	defer n.mu.Unlock()
	h, ok := n.history.Get(m.Name)
	if !ok {
		return nil
	}
	var all []Path
	for _, v := range h.versions {
		all = append(all, v.path.below(m.Rest))
	}
	return all
}

// Used says that a client goes on with what m led to, so that it is kept.
func (n *Names) Used(m Moving, p Path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h, ok := n.history.Get(m.Name)
	if !ok {
		return
	}
	for i, v := range h.versions {
		if v.path.below(m.Rest) == p {
			h.versions[i].used = time.Now()
		}
	}
}

func (v Version) below(m Moving) Version {
	v.Path = v.Path.below(m.Rest)
	return v
}

func (p Path) below(rest string) Path {
	if rest == "" {
		return p
	}
	return p.Join(rest)
}

// known returns the newest version of a name; with usable only if there is no
// reason to resolve it again.
func (n *Names) known(name string, usable bool) (Version, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h, ok := n.history.Get(name)
	if !ok || usable && !time.Now().Before(h.fresh) {
		return Version{}, false
	}
	return Version{Path: h.versions[0].path, Stale: h.failed, Since: h.since}, true
}

// patience bounds the wait for a name of which something is known already.
func (n *Names) patience(ctx context.Context, name string) (context.Context, context.CancelFunc) {
	if _, ok := n.known(name, false); ok {
		return context.WithTimeout(ctx, patience)
	}
	return context.WithCancel(ctx)
}

// refresh resolves a name and notes what came of it.
func (n *Names) refresh(ctx context.Context, name string) error {
	found, err := n.system.ResolveName(ctx, name)
	if err != nil {
		n.failed(name, err)
		return err
	}
	if n.note(name, found) {
		n.keep(ctx, name, found.Path)
	}
	return nil
}

func (n *Names) failed(name string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h, ok := n.history.Get(name); ok {
		h.failed, h.fresh = err, time.Now().Add(retryAfter)
	}
}

// note takes in where a name leads, and reports whether it has moved.
func (n *Names) note(name string, found Pointer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	h, ok := n.history.Get(name)
	if !ok {
		h = &history{}
	}
	h.failed, h.since, h.fresh = nil, now, now.Add(min(found.TTL, maxTTL))
	moved := len(h.versions) == 0 || h.versions[0].path != found.Path
	kept := []version{{found.Path, now}}
	for _, v := range h.versions {
		if v.path != found.Path && now.Sub(v.used) < versionAge && len(kept) < keptVersions {
			kept = append(kept, v)
		}
	}
	h.versions = slices.Clip(kept)
	n.history.Add(name, h)
	return moved
}

// lastPlace is what is kept of a name.
type lastPlace struct {
	Root  cid.Cid   `json:"root"`
	Rest  string    `json:"rest,omitempty"`
	Since time.Time `json:"since"`
}

func nameKey(name string) datastore.Key { return datastore.NewKey("/names/" + name) }

// keep writes down where a name leads. Without it a later process has nothing
// to fall back to, no more.
func (n *Names) keep(ctx context.Context, name string, p Path) {
	data, err := json.Marshal(lastPlace{p.Root, p.Rest, time.Now()})
	if err == nil {
		err = n.store.Put(ctx, nameKey(name), data)
	}
	if err != nil {
		n.log.Warn("could not write down where a name leads", "name", name, "error", err)
	}
}

// load reads what another process wrote down, if nothing is known of the name.
func (n *Names) load(ctx context.Context, name string) {
	if _, ok := n.known(name, false); ok {
		return
	}
	var last lastPlace
	data, err := n.store.Get(ctx, nameKey(name))
	if err != nil || json.Unmarshal(data, &last) != nil || !last.Root.Defined() {
		return // as if there were nothing
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.history.Get(name); !ok {
		n.history.Add(name, &history{versions: []version{{Path{last.Root, last.Rest}, time.Now()}}, since: last.Since})
	}
}

// forget keeps what is written down as few as what is remembered.
func (n *Names) forget(name string) {
	if err := n.store.Delete(context.Background(), nameKey(name)); err != nil {
		n.log.Warn("could not forget a name", "name", name, "error", err)
	}
}
