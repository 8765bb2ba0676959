package pintest

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ipfs-registry/ipfs-registry/pin"
)

// Store is a pin.Store in memory.
type Store struct {
	mu      sync.Mutex
	records map[string][]byte
	// Step, unless it is nil, is called before each Commit; if it fails,
	// nothing is changed.
	Step func() error
}

// NewStore returns an empty Store.
func NewStore() *Store { return &Store{records: map[string][]byte{}} }

// Get implements pin.Store, as do the others.
func (s *Store) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.records[key]), nil
}

// Commit changes all or nothing.
func (s *Store) Commit(_ context.Context, changes map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Step != nil {
		if err := s.Step(); err != nil {
			return err
		}
	}
	for key, value := range changes {
		if value == nil {
			delete(s.records, key)
		} else {
			s.records[key] = slices.Clone(value)
		}
	}
	return nil
}

// Scan returns what is below a prefix.
func (s *Store) Scan(_ context.Context, prefix string) iter.Seq2[pin.Entry, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.records)
	return func(yield func(pin.Entry, error) bool) {
		for key, value := range all {
			if strings.HasPrefix(key, prefix+"/") && !yield(pin.Entry{Key: key, Value: value}, nil) {
				return
			}
		}
	}
}

// TestStore checks that a Store keeps the contract of pin.Store.
func TestStore(t *testing.T, s pin.Store) {
	ctx := t.Context()
	if err := s.Commit(ctx, map[string][]byte{"/t/a/1": []byte("one"), "/t/a/2": []byte("two"), "/t/ab/1": []byte("other")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, map[string][]byte{"/t/a/2": nil, "/t/a/3/x": []byte("three"), "/t/a/4": nil}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"/t/a/1": "one", "/t/a/2": "", "/t/a/3/x": "three", "/t/none": ""} {
		got, err := s.Get(ctx, key)
		if err != nil || string(got) != want || (want == "") != (got == nil) {
			t.Errorf("%s is %q, %v; want %q", key, got, err, want)
		}
	}
	found := map[string]string{}
	for e, err := range s.Scan(ctx, "/t/a") {
		if err != nil {
			t.Fatal(err)
		}
		found[e.Key] = string(e.Value)
	}
	if want := map[string]string{"/t/a/1": "one", "/t/a/3/x": "three"}; !maps.Equal(found, want) {
		t.Errorf("below /t/a there is %v; want %v", found, want)
	}
}
