package pin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// State says how much of an image is here.
type State string

// The states.
const (
	// Incomplete: it is to be kept, and something of it is missing.
	Incomplete State = "incomplete"
	// Kept: every block of it is here and pinned.
	Kept State = "kept"
)

// Image is an entry of the ledger.
type Image struct {
	Root cid.Cid `json:"-"`
	// Rest is the path below the root; "" for the root itself.
	Rest string `json:"path,omitempty"`
	// Name is what people call it.
	Name string `json:"name"`
	Form string `json:"form,omitempty"`
	// Ref, Platforms and Manifests are what was selected of it; see
	// image.Selection.
	Ref       string          `json:"ref,omitempty"`
	Platforms []string        `json:"platforms,omitempty"`
	Manifests []digest.Digest `json:"manifests,omitempty"`
	// Whole says that all below the root is kept, by one recursive pin.
	Whole bool  `json:"whole"`
	State State `json:"state"`
	// Explicit images were asked for by name; the others were pulled, and
	// make room when there is none.
	Explicit bool `json:"explicit"`
	// Pushed images were made here.
	Pushed bool `json:"pushed,omitempty"`
	// Size is the sum in bytes of the distinct manifests and blobs.
	Size  int64     `json:"size"`
	Added time.Time `json:"added"`
	// Pulled is when it was last pulled, or added if it never was.
	Pulled time.Time `json:"pulled"`
	// Has are the digests of the manifests and indexes that are kept.
	Has []digest.Digest `json:"has,omitempty"`
	// Missing are the blobs that have not come, of an image that is
	// Incomplete, and Problem is why.
	Missing []Blob `json:"missing,omitempty"`
	Problem string `json:"problem,omitempty"`
	// Checked is the last verification; nil when there was none.
	Checked *Check `json:"checked,omitempty"`
}

// Blob is a blob by its digest, and its size in bytes.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// Check is what a verification found.
type Check struct {
	When time.Time `json:"when"`
	// Blocks is how many were read, and Damaged and Repaired how many of them
	// were not what their CIDs say and how many of those came anew.
	Blocks   int64  `json:"blocks"`
	Bytes    int64  `json:"bytes"`
	Damaged  int64  `json:"damaged"`
	Repaired int64  `json:"repaired"`
	Problem  string `json:"problem,omitempty"`
}

// Path is where the image is.
func (i *Image) Path() image.Path { return image.Path{Root: i.Root, Rest: i.Rest} }

// id is the name of the image's records.
func (i *Image) id() string { return idOf(i.Path()) }

func idOf(p image.Path) string {
	if p.Rest == "" {
		return p.Root.String()
	}
	return p.Root.String() + "~" + url.PathEscape(p.Rest)
}

// Part is a file or directory of an image's closure.
type Part struct {
	CID  cid.Cid `json:"cid"`
	Mode Mode    `json:"mode"`
	// Size is that of the file in bytes, 0 for what is no blob.
	Size int64 `json:"size,omitempty"`
	// Digest is that of the blob; "" for what is none, or has several in it.
	Digest digest.Digest `json:"digest,omitempty"`
}

// The prefixes of the keys. A reference is a key alone: of a part, and below
// it of the image that needs it.
const (
	imageKeys = "/pins/image"
	partKeys  = "/pins/part"
	refKeys   = "/pins/ref"
)

// Ledger is the record of the images that are kept. Its methods may be called
// side by side, but of those that change one image one at a time.
type Ledger struct {
	store Store

	// kept is what Kept returns; nil when it has to be read anew. turn counts
	// how often it had to be.
	mu   sync.Mutex
	kept []image.Path
	turn int
}

// NewLedger returns the ledger in a store.
func NewLedger(s Store) *Ledger { return &Ledger{store: s} }

// Kept implements image.Keeper: the paths of the images that are Kept.
func (l *Ledger) Kept(ctx context.Context, _ string) ([]image.Path, string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept == nil {
		kept := []image.Path{}
		for i, err := range l.All(ctx) {
			if err != nil {
				return nil, "", err
			}
			if i.State == Kept {
				kept = append(kept, i.Path())
			}
		}
		l.kept = kept
		l.turn++
	}
	return l.kept, strconv.Itoa(l.turn), nil
}

// changed has Kept look anew.
func (l *Ledger) changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = nil
}

// Get returns the image at a path, nil if the ledger does not have it.
func (l *Ledger) Get(ctx context.Context, p image.Path) (*Image, error) {
	return l.get(ctx, imageKeys+"/"+idOf(p))
}

func (l *Ledger) get(ctx context.Context, key string) (*Image, error) {
	data, err := l.store.Get(ctx, key)
	if err != nil || data == nil {
		return nil, err
	}
	return parseImage(data)
}

// keptAt returns the image that is Kept at a path: one of the very path, or all
// that is below its root; nil if there is none.
func (l *Ledger) keptAt(ctx context.Context, p image.Path) (*Image, error) {
	i, err := l.Get(ctx, p)
	if err != nil || i != nil && i.State == Kept {
		return i, err
	}
	for e, err := range l.store.Scan(ctx, refKeys+"/"+p.Root.String()) {
		if err != nil {
			return nil, err
		}
		data, err := l.store.Get(ctx, imageKeys+e.Key[strings.LastIndexByte(e.Key, '/'):])
		if err != nil || data == nil {
			return nil, err
		}
		if i, err := parseImage(data); err != nil || i.State == Kept && i.Whole && i.Root == p.Root {
			return i, err
		}
	}
	return nil, nil
}

func parseImage(data []byte) (*Image, error) {
	i := &Image{}
	if err := json.Unmarshal(data, i); err != nil {
		return nil, fmt.Errorf("read a record of the ledger of images: %w", err)
	}
	return i, nil
}

// Update changes nothing but the record of an image.
func (l *Ledger) Update(ctx context.Context, i *Image) error {
	return l.change(ctx, i, nil)
}

func (l *Ledger) change(ctx context.Context, i *Image, changes map[string][]byte) error {
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	all := map[string][]byte{imageKeys + "/" + i.id(): data}
	for k, v := range changes {
		all[k] = v
	}
	return l.store.Commit(ctx, all)
}

// Parts returns the closure of an image, none while it is not known.
func (l *Ledger) Parts(ctx context.Context, p image.Path) ([]Part, error) {
	var parts []Part
	data, err := l.store.Get(ctx, partKeys+"/"+idOf(p))
	if err != nil || data == nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &parts); err != nil {
		return nil, fmt.Errorf("read the parts of %s in the ledger of images: %w", p, err)
	}
	return parts, nil
}

// record writes an image and its parts, and returns those of its parts before
// that it has no more.
func (l *Ledger) record(ctx context.Context, i *Image, parts []Part) (gone []Part, err error) {
	before, err := l.Parts(ctx, i.Path())
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(parts)
	if err != nil {
		return nil, err
	}
	id := i.id()
	changes := map[string][]byte{partKeys + "/" + id: data}
	for _, p := range before {
		changes[refKey(p.CID, id)] = nil
	}
	for _, p := range parts {
		changes[refKey(p.CID, id)] = []byte(p.Mode)
	}
	for _, p := range before {
		if changes[refKey(p.CID, id)] == nil {
			gone = append(gone, p)
		}
	}
	defer l.changed()
	return gone, l.change(ctx, i, changes)
}

func refKey(c cid.Cid, id string) string { return refKeys + "/" + c.String() + "/" + id }

// remove forgets an image.
func (l *Ledger) remove(ctx context.Context, i *Image) (parts []Part, err error) {
	if parts, err = l.Parts(ctx, i.Path()); err != nil {
		return nil, err
	}
	defer l.changed()
	id := i.id()
	changes := map[string][]byte{imageKeys + "/" + id: nil, partKeys + "/" + id: nil}
	for _, p := range parts {
		changes[refKey(p.CID, id)] = nil
	}
	return parts, l.store.Commit(ctx, changes)
}

// Needed reports whether an image of the ledger has the part, and how the
// images that do want it pinned: Recursive if any of them does.
func (l *Ledger) Needed(ctx context.Context, c cid.Cid) (Mode, bool, error) {
	var mode Mode
	for e, err := range l.store.Scan(ctx, refKeys+"/"+c.String()) {
		if err != nil {
			return "", false, err
		}
		if m := Mode(e.Value); mode == "" || mode == Covered || m == Recursive {
			mode = m
		}
	}
	return mode, mode != "", nil
}

// Size is how many bytes the blobs of all images have, those of several images
// counted once.
func (l *Ledger) Size(ctx context.Context) (int64, error) {
	seen, size := map[cid.Cid]bool{}, int64(0)
	for e, err := range l.store.Scan(ctx, partKeys) {
		if err != nil {
			return 0, err
		}
		var parts []Part
		if err := json.Unmarshal(e.Value, &parts); err != nil {
			return 0, fmt.Errorf("read the ledger of images: %w", err)
		}
		for _, p := range parts {
			if !seen[p.CID] {
				seen[p.CID] = true
				size += p.Size
			}
		}
	}
	return size, nil
}

// ImagesOf returns the roots of the images that have the part.
func (l *Ledger) ImagesOf(ctx context.Context, c cid.Cid) ([]cid.Cid, error) {
	var roots []cid.Cid
	for e, err := range l.store.Scan(ctx, refKeys+"/"+c.String()) {
		if err != nil {
			return nil, err
		}
		root, _, _ := strings.Cut(e.Key[strings.LastIndexByte(e.Key, '/')+1:], "~")
		if c, err := cid.Decode(root); err == nil {
			roots = append(roots, c)
		}
	}
	return roots, nil
}
