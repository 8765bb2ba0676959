package image

import (
	"encoding/json"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// keptImages is how many resolved images are kept. With MaxDescriptors it
	// bounds the memory of the tables, about 200 bytes a descriptor.
	keptImages = 128
	// maxKeptRoots is how many bytes of JSON the descriptors that they begin with
	// may have together, one image apart. In memory they take some times as much.
	maxKeptRoots = 8 * MaxManifest
)

// recent are the images that were resolved last. It is safe for concurrent use.
type recent struct {
	mu     sync.Mutex
	images *simplelru.LRU[Path, *resolved]
	roots  int // in bytes
}

func newRecent() *recent {
	r := &recent{}
	images, err := simplelru.NewLRU(keptImages, func(_ Path, im *resolved) { r.roots -= im.weight })
	if err != nil {
		panic(err) // the size is a positive constant
	}
	r.images = images
	return r
}

func (r *recent) get(p Path) (*resolved, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.images.Get(p)
}

func (r *recent) add(p Path, im *resolved) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images.Remove(p)
	r.images.Add(p, im)
	for r.roots += im.weight; r.roots > maxKeptRoots && r.images.Len() > 1; {
		r.images.RemoveOldest()
	}
}

// weigh returns how many bytes of JSON the descriptors are.
func weigh(roots []ocispec.Descriptor) int {
	data, err := json.Marshal(roots)
	if err != nil {
		panic(err) // they were read from JSON
	}
	return len(data)
}
