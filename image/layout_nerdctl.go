package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// descriptorRoot is the form that nerdctl and stargz-snapshotter make: a JSON
// descriptor as one file, it and every descriptor below it with the CID of its
// bytes as an ipfs:// URL. (stargz-snapshotter: docs/ipfs.md, "IPFS-enabled
// image".)
type descriptorRoot struct{ desc ocispec.Descriptor }

func (l *descriptorRoot) name() string                   { return "nerdctl descriptor" }
func (l *descriptorRoot) roots() []ocispec.Descriptor    { return []ocispec.Descriptor{l.desc} }
func (l *descriptorRoot) guess(digest.Digest) []location { return nil }

func (l *descriptorRoot) locate(desc ocispec.Descriptor) (location, error) {
	return linked(desc)
}

// linked is where the ipfs:// URL of a descriptor leads. Content without one is
// looked for as the raw block that has its digest, as small files are stored.
func linked(desc ocispec.Descriptor) (location, error) {
	for _, u := range desc.URLs {
		rest, ok := strings.CutPrefix(u, "ipfs://")
		if !ok {
			continue
		}
		ref, err := ParseReference("/ipfs/" + rest)
		if err != nil {
			return location{}, fmt.Errorf("the URL %q of %s is of no use: %w", shorten(u), desc.Digest, err)
		}
		return file(ref.Path), nil
	}
	if c := rawCID(desc.Digest); c.Defined() {
		return file(Path{Root: c}), nil
	}
	return location{}, fmt.Errorf("the descriptor of %s has no ipfs:// URL, and its digest names no raw block", desc.Digest)
}

func parseDescriptorRoot(data []byte) (form, error) {
	l := &descriptorRoot{}
	if err := json.Unmarshal(data, &l.desc); err != nil {
		return nil, fmt.Errorf("no descriptor: %w", err)
	}
	if l.desc.MediaType == "" || l.desc.Digest == "" {
		return nil, errors.New("no descriptor: it lacks mediaType or digest")
	}
	if err := checkDescriptor(l.desc); err != nil {
		return nil, err
	}
	if !IsManifest(l.desc.MediaType) {
		return nil, fmt.Errorf("a descriptor of %q, which is neither a manifest nor an index", shorten(l.desc.MediaType))
	}
	if !slices.ContainsFunc(l.desc.URLs, func(u string) bool { return strings.HasPrefix(u, "ipfs://") }) {
		return nil, fmt.Errorf("the descriptor of %s has no ipfs:// URL", l.desc.Digest)
	}
	if _, err := l.locate(l.desc); err != nil {
		return nil, err
	}
	return l, nil
}
