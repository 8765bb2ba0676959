package pin

import (
	"context"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Mode says what of a DAG is pinned.
type Mode string

// The modes.
const (
	// Recursive pins a block and all that its links reach.
	Recursive Mode = "recursive"
	// Direct pins a block alone, such as a directory of which not everything
	// is kept.
	Direct Mode = "direct"
	// Covered marks a part that needs no pin of its own: the DAG of another
	// part reaches it.
	Covered Mode = "covered"
)

// Pinned is a pin of the node.
type Pinned struct {
	CID  cid.Cid
	Mode Mode
	// Name is what the pin is called; "" when it has no name.
	Name string
}

// Pinset is the node's pins, those of ours among those of others. Ours are told
// by who made them: pins that others made are neither replaced nor removed.
type Pinset interface {
	// Pin pins what is here whole, Recursive or Direct, and calls the pins by
	// the name. When it returns nil the pins and their blocks are on the disk
	// to stay. It fails, and a part of the pins may be made, when a block is
	// missing.
	Pin(ctx context.Context, parts []Part, name string) error
	// Unpin removes pins of ours. One that is not there, or is not ours, is
	// left out without an error.
	Unpin(ctx context.Context, cids []cid.Cid) error
	// Pins are the pins of ours, in no order.
	Pins(ctx context.Context) iter.Seq2[Pinned, error]
}

// Blocks is what keeping images needs of the node besides.
type Blocks interface {
	Pinset
	// Steps returns the CIDs of the blocks that a path leads through, and last
	// the CID where it ends.
	Steps(ctx context.Context, p image.Path) ([]cid.Cid, error)
	// Whole reports whether every block of a DAG is here. It asks nobody.
	Whole(ctx context.Context, c cid.Cid, mode Mode) (bool, error)
	// Fetch brings what is missing of a DAG. Its errors are those of
	// image.Source.
	Fetch(ctx context.Context, c cid.Cid, mode Mode) error
	// Collect removes the blocks that nothing needs: no pin of anybody, no
	// root, which may have gaps, and no request in flight. roots is asked once.
	// With dry it only counts.
	Collect(ctx context.Context, roots func(context.Context) ([]Part, error), dry bool) (Freed, error)
	// Prove begins a run of proofs. The function that it returns hashes every
	// block of a DAG that the run has not hashed yet, or with Direct one block,
	// as it lies on the disk, and retrieves again what is damaged or missing.
	// What nobody brings is no error, but told.
	Prove(o ProveOptions) func(ctx context.Context, c cid.Cid, mode Mode) (Proved, error)
	// Usage says how many bytes the blocks take, and the size and the free
	// bytes of the file system that they are on.
	Usage(ctx context.Context) (Usage, error)
}

// Freed is what a garbage collection removed.
type Freed struct {
	Blocks int64 `json:"blocks"`
	Bytes  int64 `json:"bytes"`
	// Kept is how many blocks are still there.
	Kept int64 `json:"kept"`
}

// Usage is how full the disk is, in bytes.
type Usage struct {
	Blocks, Free, Total uint64
}

// Entry is a record of a Store.
type Entry struct {
	Key   string
	Value []byte
}

// Store is where the ledger is: keys, slash-separated, and values.
type Store interface {
	// Get returns the value of a key, nil when there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	// Commit makes all the changes, or none if it fails or the process ends
	// first. A nil value removes the key. When it returns nil they are on the
	// disk.
	Commit(ctx context.Context, changes map[string][]byte) error
	// Scan returns the records whose keys are below a prefix, in no order.
	Scan(ctx context.Context, prefix string) iter.Seq2[Entry, error]
}
