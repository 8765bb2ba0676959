package node

import "github.com/ipfs-registry/ipfs-registry/image"

var _ image.Checker = (*file)(nil)

const (
	// maxProved is how many blocks are looked at on the disk before an answer
	// begins, and maxMended how many only in memory. Few blocks can be a file of
	// exabytes, and nobody waits for so long.
	maxProved = 4096
	maxMended = 1 << 16
)

// Check implements image.Checker. It reads up to the first block that is not
// here, or maxProved of them, and knows of damage in the maxMended after those.
func (f *file) Check(first, n int64) error {
	if err := f.usable(); err != nil {
		return err
	}
	end := f.pos + min(n, f.root.size-f.pos)
	pos, err := f.proveTo(min(f.pos+first, end))
	if err != nil {
		return err
	}
	return f.mend(pos, end)
}

// proveTo makes sure that what is here from f.pos on is right, up to an offset
// or the first block that is not here, and returns how far that is.
func (f *file) proveTo(end int64) (pos int64, err error) {
	pos = f.pos
	for range maxProved {
		if err := f.usable(); pos >= end || err != nil {
			return pos, err
		}
		if pos >= f.begun.start && pos < f.begun.end {
			pos = f.begun.end
			continue
		}
		r, ok := f.peek(pos)
		if ok && r.kind == rawLeaf && f.content.disk.proven(r.cid, r.size()) {
			pos = r.end
			continue
		}
		if !ok || r.kind != inline && !f.content.disk.has(r.cid) {
			return pos, nil
		}
		if pos, err = f.prove(pos); err != nil {
			return pos, err
		}
	}
	return pos, nil
}

// prove makes sure that the leaf at pos is right, and returns where it ends.
func (f *file) prove(pos int64) (end int64, err error) {
	l, err := f.locate(pos)
	if err == nil && l.kind == rawLeaf {
		err = f.load(l, notAhead)
	}
	return l.end, err
}

// mend retrieves the first of the blocks between two offsets that are known to
// be damaged. If it comes the others may be expected to as well; if it does not
// that is better said than found out by a reader who has all that is before it.
func (f *file) mend(pos, end int64) error {
	if f.content.disk.damaged.Len() == 0 {
		return nil
	}
	for range maxMended {
		if err := f.usable(); pos >= end || err != nil {
			return err
		}
		r, ok := f.peek(pos)
		if !ok {
			return nil
		}
		if r.kind == subtree && f.content.disk.here(r.cid) { // it was not in memory
			l, err := f.locate(pos)
			if err != nil {
				return err
			}
			r = l
		}
		if f.content.disk.isDamaged(r.cid) {
			_, err := f.prove(pos)
			return err
		}
		pos = r.end
	}
	return nil
}
