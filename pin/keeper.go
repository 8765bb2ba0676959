package pin

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Options say what a Keeper keeps besides what it is asked for by name.
type Options struct {
	// OnPull keeps what is pulled.
	OnPull bool
	// Retain is how long an image that was pulled is kept after its last pull;
	// 0 means for good.
	Retain time.Duration
	// Quota is how many bytes the images may have together, what they share
	// counted once; 0 means any number. Those pulled least recently make room.
	Quota int64
	// MaxImageSize is how many bytes an image may have to be kept; 0 means any
	// number.
	MaxImageSize int64
	// Watermark is the percentage of the disk in use above which room is made;
	// 0 means never.
	Watermark int
	// ScrubInterval is how often each image is verified in the background; 0
	// means never. ScrubRate is how many bytes of them are read in a second.
	ScrubInterval time.Duration
	ScrubRate     int64
	// Key is the file of public keys, by one of which an image has to be signed
	// to be kept or served; "" means none has to. See [Signed].
	Key string
	// Policy admits what may be kept; nil admits everything.
	Policy *Policy
	// Log gets what no caller can be told; nil discards it.
	Log *slog.Logger
}

// Service is what can be asked about the images that are kept. A [Keeper] is
// one, and so is a [Client] of one in another process.
type Service interface {
	// Add keeps an image and returns when it is kept whole. told, unless it is
	// nil, is told of the progress now and then. If it fails for what may pass,
	// the image stays listed as Incomplete.
	Add(ctx context.Context, r Request, told func(Progress)) (*Image, error)
	// List are the images, those added first at the beginning, read as the
	// caller goes through them.
	List(ctx context.Context) iter.Seq2[*Image, error]
	// Remove lets go of an image. Its error is NotFound if it is not listed.
	Remove(ctx context.Context, p image.Path) error
	// Verify reads every block and every blob of images, and repairs what it
	// can. told, unless it is nil, is told of each image. What could not be
	// repaired is no error; see [Unsound].
	Verify(ctx context.Context, r VerifyRequest, told func(Verified)) ([]Verified, error)
	// Collect removes the blocks that nothing needs; with dry it only counts.
	Collect(ctx context.Context, dry bool) (Freed, error)
}

// Keeper keeps images. It is safe for concurrent use.
type Keeper struct {
	images  Resolver
	blocks  Blocks
	ledger  *Ledger
	options Options

	// changing is held by who changes what the ledger and the pins say of
	// which image needs what, so that the two agree.
	changing sync.Mutex

	mu      sync.Mutex
	adding  map[string]*addition // by the image's id
	pulled  map[string]*pull     // likewise
	readers map[string]int       // likewise: how many read from it just now
	later   map[string]retry     // likewise
	asked   map[string]int       // likewise: how many ask for it by name, or wait to
	// bringing are those for which Run does something just now, likewise.
	bringing map[string]bool

	// What wakes Run. They have room for one.
	wakeTidy, wakeBring chan struct{}

	proof  proofMetrics
	signed *Signed // nil means that nothing has to be signed
}

// New returns a Keeper of the images that store has the ledger of.
func New(images Resolver, blocks Blocks, store Store, o Options) *Keeper {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{
		images: images, blocks: blocks, ledger: NewLedger(store), options: o,
		adding: map[string]*addition{}, pulled: map[string]*pull{}, readers: map[string]int{}, later: map[string]retry{},
		asked: map[string]int{}, bringing: map[string]bool{},
		wakeTidy: make(chan struct{}, 1), wakeBring: make(chan struct{}, 1),
	}
	if o.Key != "" {
		k.signed = NewSigned(images, o.Key)
	}
	return k
}

// Ledger is the record of what is kept.
func (k *Keeper) Ledger() *Ledger { return k.ledger }

// List implements Service.
func (k *Keeper) List(ctx context.Context) iter.Seq2[*Image, error] { return k.ledger.All(ctx) }

// Remove implements Service. An addition of the image under way ends first.
func (k *Keeper) Remove(ctx context.Context, p image.Path) error {
	end, err := k.claim(ctx, idOf(p), removes)
	if err != nil {
		return err
	}
	defer end()
	i, err := k.ledger.Get(ctx, p)
	if err != nil {
		return err
	}
	if i == nil {
		return &image.Error{Class: image.NotFound, Op: "let go of " + p.String(),
			Err: errors.New("it is not kept"), Hint: "see what is by \"ipfs-registry pin ls\""}
	}
	k.forgetPull(i.id())
	return k.drop(ctx, i)
}

func (k *Keeper) drop(ctx context.Context, i *Image) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	return k.letGo(ctx, i)
}

// letGo takes an image out of the ledger and removes the pins that nothing else
// needs. If it ends in between, the next start removes them. The caller holds changing.
func (k *Keeper) letGo(ctx context.Context, i *Image) error {
	parts, err := k.ledger.remove(ctx, i)
	if err != nil {
		return fmt.Errorf("let go of %s: %w", i.Path(), err)
	}
	if err := k.release(ctx, parts); err != nil {
		return fmt.Errorf("let go of %s: %w", i.Path(), err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.later, i.id())
	return nil
}

// release unpins the parts that no image needs a pin of.
func (k *Keeper) release(ctx context.Context, parts []Part) error {
	var cids []cid.Cid
	for _, p := range parts {
		mode, needed, err := k.ledger.Needed(ctx, p.CID)
		if err != nil {
			return err
		}
		if !needed || mode == Covered {
			cids = append(cids, p.CID)
		}
	}
	return k.blocks.Unpin(ctx, cids)
}

// Collect implements Service. What there is of images that are incomplete
// stays.
func (k *Keeper) Collect(ctx context.Context, dry bool) (Freed, error) {
	return k.blocks.Collect(ctx, k.roots, dry)
}

// roots are the parts of all images: of those that are not pinned yet, and of
// the others in case that a crash cost them a pin; and those of the additions under
// way.
func (k *Keeper) roots(ctx context.Context) ([]Part, error) {
	roots := k.underWay()
	for i, err := range k.ledger.All(ctx) {
		if err != nil {
			return nil, err
		}
		if i.State == Kept && i.Whole {
			roots = append(roots, Part{CID: i.Root, Mode: Recursive})
			continue
		}
		roots = append(roots, Part{CID: i.Root, Mode: Direct})
		parts, err := k.ledger.Parts(ctx, i.Path())
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			if p.Mode != Covered {
				roots = append(roots, p)
			}
		}
	}
	return roots, nil
}
