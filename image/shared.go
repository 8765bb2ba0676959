package image

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// linger is how long work goes on that nobody waits for any more: a client
	// whose connection broke comes back for the answer.
	linger = time.Second
	// comeBack is linger for one that ran out of time, and was told to try again
	// 10 s later.
	comeBack = 30 * time.Second
)

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
	until   time.Time   // somebody who left may come back
}

// do returns what f returns, called now or for one who asked before. Who waits
// does so until its own ctx ends; f has the values of the first one's. One that
// ran out of time, as a HEAD does, has longer to come back: it was told to.
func (s *shared[K, V]) do(ctx context.Context, key K, f func(context.Context) (V, error)) (V, error) {
	w := s.join(ctx, key, f)
	select {
	case <-w.done:
		return w.value, w.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.leave(key, w, comeBack)
		} else {
			s.leave(key, w, linger)
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

// leave ends the work if nobody waits for it, nor comes back for it in time.
func (s *shared[K, V]) leave(key K, w *work[V], within time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until := time.Now().Add(within); until.After(w.until) {
		w.until = until
	}
	if w.waiting--; w.waiting > 0 {
		return
	}
	w.left = time.AfterFunc(time.Until(w.until), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if w.waiting == 0 {
			s.end(key, w)
		}
	})
}
