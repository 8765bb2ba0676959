package pin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// place is where an image comes in the list, and no more of it.
type place struct {
	added int64 // ns since 1970
	key   string
}

// All are the images, the one added first at the beginning. One at a time is in
// memory, however many there are. The ledger may be changed meanwhile: what is
// removed before its turn is left out.
func (l *Ledger) All(ctx context.Context) iter.Seq2[*Image, error] {
	return func(yield func(*Image, error) bool) {
		places, err := l.places(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, p := range places {
			i, err := l.get(ctx, p.key)
			if err == nil && i == nil {
				continue
			}
			if !yield(i, err) || err != nil {
				return
			}
		}
	}
}

// places are those of all images, in order.
func (l *Ledger) places(ctx context.Context) ([]place, error) {
	var all []place
	for e, err := range l.store.Scan(ctx, imageKeys) {
		if err != nil {
			return nil, err
		}
		var i struct{ Added time.Time }
		if err := json.Unmarshal(e.Value, &i); err != nil {
			return nil, fmt.Errorf("read a record of the ledger of images: %w", err)
		}
		all = append(all, place{i.Added.UnixNano(), e.Key})
	}
	slices.SortFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.added, b.added), strings.Compare(a.key, b.key))
	})
	return all, nil
}
