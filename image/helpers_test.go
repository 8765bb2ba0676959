package image_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/ipfs-registry/ipfs-registry/image"
)

type ctx = context.Context

func decode(t *testing.T, c *image.Content, v any) {
	t.Helper()
	if err := json.Unmarshal(readAll(t, c), v); err != nil {
		t.Fatal(err)
	}
}
