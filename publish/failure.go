package publish

import (
	"fmt"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// fail returns an error of a class: what was attempted, why it failed and what
// to do next.
func fail(class image.Class, op string, why error, hint string) error {
	return &image.Error{Class: class, Op: op, Err: why, Hint: hint}
}

func malformed(op string, why error, hint string) error {
	return fail(image.Malformed, op, why, hint)
}

func notFound(op string, why error, hint string) error {
	return fail(image.NotFound, op, why, hint)
}

// quote quotes what may be long and hostile.
func quote(s string) string {
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return fmt.Sprintf("%q", s)
}
