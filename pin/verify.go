package pin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// ProveOptions say how blocks are proved.
type ProveOptions struct {
	// Workers is how many blocks are hashed at a time; 0 means one.
	Workers int
	// Rate is how many bytes are read in a second at most, past what the system
	// has in its memory; 0 means any number.
	Rate int64
}

// Proved is what came of the proving of a DAG.
type Proved struct {
	// Blocks and Bytes are what was read, Damaged how many blocks were not
	// there or not what their CIDs say, Repaired how many of those came anew.
	Blocks, Bytes, Damaged, Repaired int64
	// Broken is how many of them did not, and Names are the first of those.
	Broken int64
	Names  []cid.Cid
}

func (p *Proved) add(q Proved) {
	p.Blocks += q.Blocks
	p.Bytes += q.Bytes
	p.Damaged += q.Damaged
	p.Repaired += q.Repaired
	p.Broken += q.Broken
	p.Names = append(p.Names, q.Names...)
}

// VerifyRequest says which images are verified.
type VerifyRequest struct {
	// Path is that of one image, which need not be kept; nil means all images
	// that are kept.
	Path    *image.Path `json:"path,omitempty"`
	Workers int         `json:"workers,omitempty"`
	Rate    int64       `json:"rate,omitempty"`
}

// Verified is the verification of an image.
type Verified struct {
	Path image.Path `json:"path"`
	Name string     `json:"name,omitempty"`
	Check
}

// Sound reports whether the image is whole and right by now.
func (v *Verified) Sound() bool { return v.Problem == "" }

// Verify implements Service: it reads every block of the images and compares it
// with its CID, retrieves again what is damaged or missing, and then compares
// every blob with its digest, unless that of the same file was right before:
// files are named by what is in them. What images share is read once.
func (k *Keeper) Verify(ctx context.Context, r VerifyRequest, told func(Verified)) ([]Verified, error) {
	v := &verification{keeper: k, prove: k.blocks.Prove(ProveOptions{Workers: r.Workers, Rate: r.Rate}), known: map[cid.Cid]Proved{}}
	all := []Verified{}
	for i, err := range k.toVerify(ctx, r) {
		if err != nil {
			return nil, err
		}
		one, err := v.image(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("verify %s: %w", i.Path(), err)
		}
		if told != nil {
			told(one)
		}
		all = append(all, one)
	}
	return all, nil
}

// toVerify are the images that are meant. One that is not kept is looked up.
func (k *Keeper) toVerify(ctx context.Context, r VerifyRequest) iter.Seq2[*Image, error] {
	if r.Path == nil {
		return k.ledger.All(ctx)
	}
	return func(yield func(*Image, error) bool) {
		i, err := k.ledger.Get(ctx, *r.Path)
		if err == nil && i == nil {
			i = &Image{Root: r.Path.Root, Rest: r.Path.Rest}
		}
		yield(i, err)
	}
}

// verification is one run over images.
type verification struct {
	keeper *Keeper
	prove  func(context.Context, cid.Cid, Mode) (Proved, error)
	known  map[cid.Cid]Proved // what came of the parts so far
}

func (v *verification) image(ctx context.Context, i *Image) (Verified, error) {
	found := Verified{Path: i.Path(), Name: i.Name, Check: Check{When: time.Now().UTC()}}
	parts, err := v.parts(ctx, i)
	if err == nil {
		err = v.all(ctx, i, parts, &found)
	}
	if err != nil {
		if ctx.Err() != nil || image.ClassOf(err) == 0 {
			return found, err
		}
		found.Problem = err.Error()
	}
	return found, v.note(ctx, i, found.Check)
}

// parts are those of the ledger, or of an image that is not kept those that it
// has now.
func (v *verification) parts(ctx context.Context, i *Image) ([]Part, error) {
	parts, err := v.keeper.ledger.Parts(ctx, i.Path())
	if err != nil || len(parts) > 0 {
		return parts, err
	}
	selection, err := i.Selection()
	if err != nil {
		return nil, err
	}
	_, parts, err = Closure(ctx, v.keeper.images, v.keeper.blocks, i.Path(), selection, false)
	return parts, err
}

// all proves the parts, those with a digest first, and then the digests.
func (v *verification) all(ctx context.Context, i *Image, parts []Part, found *Verified) error {
	var total Proved
	for _, p := range parts {
		mode := p.Mode
		if mode == Covered {
			mode = Direct
			if p.Digest != "" || p.Size > 0 {
				mode = Recursive
			}
		}
		proved, err := v.part(ctx, p.CID, mode)
		if err != nil {
			return err
		}
		total.add(proved)
	}
	found.Blocks, found.Bytes, found.Damaged, found.Repaired = total.Blocks, total.Bytes, total.Damaged, total.Repaired
	if total.Broken > 0 {
		found.Problem = fmt.Sprintf("blocks are damaged or missing, and nobody brought them: %d, of which the first are %s",
			total.Broken, total.Names[:min(len(total.Names), 3)])
		return nil
	}
	for _, p := range parts {
		if p.Digest == "" {
			continue
		}
		if err := v.digest(ctx, i, p); err != nil {
			return err
		}
	}
	return nil
}

// part proves what was not proved for another image.
func (v *verification) part(ctx context.Context, c cid.Cid, mode Mode) (Proved, error) {
	if known, ok := v.known[c]; ok {
		return Proved{Broken: known.Broken, Names: known.Names}, nil
	}
	proved, err := v.prove(ctx, c, mode)
	if err == nil {
		v.known[c] = proved
	}
	return proved, err
}

// digest compares a blob with its digest.
func (v *verification) digest(ctx context.Context, i *Image, p Part) error {
	c, err := v.keeper.images.Blob(ctx, i.Path(), p.Digest)
	if err != nil {
		return err
	}
	defer c.Close()
	if c.Proven {
		return nil
	}
	_, err = io.Copy(io.Discard, struct{ io.Reader }{c})
	return err
}

// note writes the result into the ledger, unless the image has gone from it.
func (v *verification) note(ctx context.Context, i *Image, check Check) error {
	k := v.keeper
	end, err := k.claim(ctx, i.id(), waits)
	if err != nil {
		return err
	}
	defer end()
	now, err := k.ledger.Get(ctx, i.Path())
	if err != nil || now == nil {
		return err
	}
	now.Checked = &check
	k.proof.note(check)
	return k.ledger.Update(ctx, now)
}

// scrub verifies all images at the pace of the options, once in each interval,
// until ctx ends. Where it was interrupted is of no consequence: an image that
// was verified less than an interval ago is left out.
func (k *Keeper) scrub(ctx context.Context) {
	every := k.options.ScrubInterval
	for every > 0 {
		next, err := k.scrubOldest(ctx, every)
		if err != nil && ctx.Err() == nil {
			k.options.Log.Warn("could not scrub", "error", err)
			next = time.Minute
		}
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return
		}
	}
}

// scrubOldest verifies the images whose last verification is an interval ago,
// and returns when there will be another.
func (k *Keeper) scrubOldest(ctx context.Context, every time.Duration) (time.Duration, error) {
	next := every
	v := &verification{keeper: k, prove: k.blocks.Prove(ProveOptions{Rate: max(k.options.ScrubRate, 1)}), known: map[cid.Cid]Proved{}}
	for i, err := range k.ledger.All(ctx) {
		if err != nil {
			return 0, err
		}
		if i.State != Kept {
			continue
		}
		last := i.Added
		if i.Checked != nil {
			last = i.Checked.When
		}
		if left := every - time.Since(last); left > 0 {
			next = min(next, left)
			continue
		}
		found, err := v.image(ctx, i)
		if err != nil {
			return 0, err
		}
		if found.Damaged > 0 || !found.Sound() {
			k.options.Log.Warn("scrubbing found damage", "image", i.Name, "blocks", found.Blocks, "damaged", found.Damaged, "repaired", found.Repaired, "problem", found.Problem)
		}
	}
	return next, nil
}

// errUnsound is why a verification, which itself went well, is a failure.
var errUnsound = errors.New("images are damaged or not whole, and could not be repaired")

// Unsound is the error of verifications that found what could not be repaired.
func Unsound(all []Verified) error {
	var names []string
	for _, v := range all {
		if !v.Sound() {
			names = append(names, v.Path.String())
		}
	}
	if names == nil {
		return nil
	}
	return &image.Error{Class: image.Corrupt, Op: "verify", Err: fmt.Errorf("%w: %s", errUnsound, strings.Join(names[:min(len(names), 3)], ", ")),
		Hint: "run it again when a peer or a --gateway that has them can be reached"}
}
