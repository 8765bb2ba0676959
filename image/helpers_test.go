package image_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

type ctx = context.Context

func decode(t *testing.T, c *image.Content, v any) {
	t.Helper()
	if err := json.Unmarshal(readAll(t, c), v); err != nil {
		t.Fatal(err)
	}
}

// closing has do ask for what s has, and fails if a file of it is left open by
// then, or once the work is over that nobody waits for.
func closing(t *testing.T, s *imagetest.Store, do func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		before := s.Unclosed()
		do(t)
		synctest.Wait()
		if left := s.Unclosed() - before; left != 0 {
			t.Errorf("%d files are left open", left)
		}
	})
}
