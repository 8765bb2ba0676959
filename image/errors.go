package image

import (
	"errors"
	"fmt"
)

// Class is the kind of a failure. Absent and unreachable are never the same
// class: a client retries one and gives up on the other.
type Class uint8

// The classes. The zero Class is a failure of our own, none of the below.
const (
	// NotFound: the image is known and has no such tag or digest, or a
	// directory has no such name.
	NotFound Class = iota + 1
	// NotImage: the CID resolves, but to no OCI image.
	NotImage
	// Malformed: the name is no CID, the digest no digest, the tag no tag.
	Malformed
	// Unavailable: no provider, or none in time.
	Unavailable
	// Corrupt: the bytes are not what the digest says.
	Corrupt
	// Denied: policy refuses it.
	Denied
)

func (c Class) String() string {
	switch c {
	case NotFound:
		return "not found"
	case NotImage:
		return "not an image"
	case Malformed:
		return "malformed"
	case Unavailable:
		return "unavailable"
	case Corrupt:
		return "corrupt"
	case Denied:
		return "denied"
	default:
		return "internal"
	}
}

// Error is a failure that a person will read. Its text says what was being
// attempted, on which CID, why it failed and what to do next.
type Error struct {
	Class Class
	// Op is what was being attempted and on what: "open /ipfs/bafy…".
	Op string
	// Err is why it failed.
	Err error
	// Hint is what to do next, an imperative without a full stop; optional.
	Hint string
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %v", e.Op, e.Err)
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of the outermost Error in err's chain, or zero.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return 0
}
