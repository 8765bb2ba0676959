package image

import (
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The bounds on an image that is served, and so on one that is published.
const (
	// MaxDepth is how many indexes may stand one below the other.
	MaxDepth = 8
	// MaxDescriptors is how many distinct digests an image may name.
	MaxDescriptors = 4096
)

var errTooDeep = fmt.Errorf("the image has an index nested deeper than %d levels", MaxDepth)

// place is where the bytes of a digest are and what is known of them.
type place struct {
	at        location
	lost      error // why there is no at
	mediaType string
	size      int64 // in bytes
	depth     int   // how many manifests are above
}

// table knows every digest that the manifests read so far name, so that no
// manifest is walked twice. It is safe for use side by side.
type table struct {
	mu        sync.Mutex
	places    map[digest.Digest]place
	unread    []digest.Digest // manifests whose children are not in places yet
	referrers map[digest.Digest][]digest.Digest
	full      bool // a digest was left out, for there were too many
	deep      bool // a manifest was left unread, for it was too far down
}

func newTable() *table {
	return &table{places: map[digest.Digest]place{}, referrers: map[digest.Digest][]digest.Digest{}}
}

func (t *table) get(dgst digest.Digest) (place, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.places[dgst]
	return p, ok
}

// add takes in a descriptor at a depth.
func (t *table) add(f form, desc ocispec.Descriptor, depth int) {
	at, err := f.locate(desc)
	t.put(desc, place{mediaType: desc.MediaType, size: desc.Size, depth: depth, at: at, lost: err})
}

// put takes in a descriptor whose place is known. The first place stays.
func (t *table) put(desc ocispec.Descriptor, p place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.places[desc.Digest]; ok {
		return
	}
	if len(t.places) >= MaxDescriptors {
		t.full = true
		return
	}
	t.places[desc.Digest] = p
	switch {
	case !IsManifest(desc.MediaType):
	case p.depth <= MaxDepth:
		t.unread = append(t.unread, desc.Digest)
	default:
		t.deep = true
	}
}

// read notes that the manifest dgst, found at depth, has been read.
func (t *table) read(f form, dgst digest.Digest, m *Manifest, depth int) {
	for _, child := range m.Children() {
		t.add(f, child, depth+1)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unread = slices.DeleteFunc(t.unread, func(d digest.Digest) bool { return d == dgst })
	if m.Subject != nil && !slices.Contains(t.referrers[m.Subject.Digest], dgst) {
		t.referrers[m.Subject.Digest] = append(t.referrers[m.Subject.Digest], dgst)
	}
}

// next returns an unread manifest that is not in tried.
func (t *table) next(tried map[digest.Digest]error) (digest.Digest, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, dgst := range t.unread {
		if _, ok := tried[dgst]; !ok {
			return dgst, true
		}
	}
	return "", false
}

// postpone has an unread manifest looked into after all others, the next time too.
func (t *table) postpone(dgst digest.Digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.unread, dgst); i >= 0 {
		t.unread = append(slices.Delete(t.unread, i, i+1), dgst)
	}
}

// limits says which bound kept a part of the image out, nil if none did.
func (t *table) limits() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.full:
		return fmt.Errorf("the image names more than %d digests", MaxDescriptors)
	case t.deep:
		return errTooDeep
	}
	return nil
}

func (t *table) referrersOf(dgst digest.Digest) []digest.Digest {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.referrers[dgst])
}

// digests are those that have a place, but for manifests that were not read.
func (t *table) digests() []digest.Digest {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]digest.Digest, 0, len(t.places))
	for dgst, p := range t.places {
		if p.lost == nil && !slices.Contains(t.unread, dgst) {
			all = append(all, dgst)
		}
	}
	return all
}
