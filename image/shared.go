package image

import (
	"context"
	"errors"
	"sync"
	"time"
)

// linger is how long work goes on that nobody waits for any more: a client whose
// connection broke comes back for the answer.
const linger = time.Second

// shared is work that is done once for all who ask for it meanwhile, and ended
// when the last of them has gone. The zero value is ready.
type shared[K comparable, V any] struct {
	mu    sync.Mutex
	under map[K]*work[V] // what is under way
}

// work is what is under way for a key.
type work[V any] struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when value and err are set
	value  V
	err    error

	// Guarded by shared.mu.
	waiting int
	left    *time.Timer // nil, or it ends what nobody waits for
}

// do returns what f returns, called now or for one who asked before. Who waits
// does so until its own ctx ends; f has the values of the first one's. One that
// ran out of time, as a HEAD does, has not gone: it was told to try again.
func (s *shared[K, V]) do(ctx context.Context, key K, f func(context.Context) (V, error)) (V, error) {
	w := s.join(ctx, key, f)
	select {
	case <-w.done:
		return w.value, w.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			s.leave(key, w)
		}
		var none V
		return none, ctx.Err()
	}
}

func (s *shared[K, V]) join(ctx context.Context, key K, f func(context.Context) (V, error)) *work[V] {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.under[key]
	if !ok {
		w = s.begin(ctx, key, f)
	}
	if w.left != nil {
		w.left.Stop()
	}
	w.waiting++
	return w
}

// begin needs s.mu.
func (s *shared[K, V]) begin(ctx context.Context, key K, f func(context.Context) (V, error)) *work[V] {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &work[V]{cancel: cancel, done: make(chan struct{})}
	if s.under == nil {
		s.under = map[K]*work[V]{}
	}
	s.under[key] = w
	go func() {
		w.value, w.err = f(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.end(key, w)
		close(w.done)
	}()
	return w
}

// end has whoever comes from now on begin anew. It needs s.mu.
func (s *shared[K, V]) end(key K, w *work[V]) {
	w.cancel()
	if s.under[key] == w {
		delete(s.under, key)
	}
}

func (s *shared[K, V]) leave(key K, w *work[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.waiting--; w.waiting > 0 {
		return
	}
	w.left = time.AfterFunc(linger, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if w.waiting == 0 {
			s.end(key, w)
		}
	})
}
