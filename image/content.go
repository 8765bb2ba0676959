package image

import (
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Content is one manifest or blob of an image, open for reading. Reading it
// from its first byte to its last proves it against Descriptor.Digest: the read
// that would hand out the last byte of a lie fails with a Corrupt error instead.
type Content struct {
	File
	// Descriptor has at least MediaType, Digest and Size, and Size is File.Size.
	Descriptor ocispec.Descriptor
	// Document is all of a manifest or index, to be looked at without the effects
	// of reading it, and not to be changed; nil for a blob.
	Document []byte
	// Proven says that the digest was right before: reading proves nothing new.
	Proven bool
}

// Check does what [Checker] says, as far as the File has that power.
func (c *Content) Check(first, n int64) error {
	return naming(c.Descriptor.Digest, check(c.File, first, n))
}
