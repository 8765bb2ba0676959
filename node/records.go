package node

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"

	"github.com/ipfs-registry/ipfs-registry/pin"
)

// Records is where the ledger of images is: beside the records of Datastore,
// changed in transactions, as pin.Store wants it. Like Datastore it must not be
// used after Close.
func (n *Node) Records() pin.Store { return records{n.records} }

// records is a pin.Store in a datastore. A batch of the datastores that Kubo
// knows is written at once or not at all.
type records struct{ ds datastore.Batching }

func (r records) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := r.ds.Get(ctx, datastore.NewKey(key))
	switch {
	case errors.Is(err, datastore.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the record %s: %w", key, err)
	}
	return value, nil
}

func (r records) Commit(ctx context.Context, changes map[string][]byte) error {
	batch, err := r.ds.Batch(ctx)
	if err != nil {
		return fmt.Errorf("change records: %w", err)
	}
	for key, value := range changes {
		if value == nil {
			err = batch.Delete(ctx, datastore.NewKey(key))
		} else {
			err = batch.Put(ctx, datastore.NewKey(key), value)
		}
		if err != nil {
			return fmt.Errorf("change the record %s: %w", key, err)
		}
	}
	if err := batch.Commit(ctx); err != nil {
		return fmt.Errorf("change records: %w", err)
	}
	if err := r.ds.Sync(ctx, datastore.NewKey("/")); err != nil {
		return fmt.Errorf("write records to the disk: %w", err)
	}
	return nil
}

func (r records) Scan(ctx context.Context, prefix string) iter.Seq2[pin.Entry, error] {
	return func(yield func(pin.Entry, error) bool) {
		results, err := r.ds.Query(ctx, query.Query{Prefix: prefix})
		if err != nil {
			yield(pin.Entry{}, fmt.Errorf("read the records of %s: %w", prefix, err))
			return
		}
		defer results.Close()
		for result := range results.Next() {
			if result.Error != nil {
				yield(pin.Entry{}, fmt.Errorf("read the records of %s: %w", prefix, result.Error))
				return
			}
			if !yield(pin.Entry{Key: result.Key, Value: result.Value}, nil) {
				return
			}
		}
	}
}
