package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ociLayout is an OCI image layout stored as a UnixFS directory: oci-layout,
// index.json and blobs/<algorithm>/<hex>. OCI image spec, "image-layout.md".
type ociLayout struct {
	root  Path
	index []ocispec.Descriptor
}

func (l *ociLayout) name() string                { return "OCI image layout" }
func (l *ociLayout) roots() []ocispec.Descriptor { return l.index }

func (l *ociLayout) locate(desc ocispec.Descriptor) (location, error) {
	return file(l.root.Join(blobPath(desc.Digest))), nil
}

func (l *ociLayout) guess(dgst digest.Digest) []location {
	return []location{file(l.root.Join(blobPath(dgst)))}
}

// blobPath is where a layout has the content of a digest.
func blobPath(dgst digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, dgst.Algorithm().String(), dgst.Encoded())
}

// layoutReader reads one of the files that make a layout.
type layoutReader func(name string) ([]byte, error)

// readOCILayout begins to read both files that make a layout of a directory at
// p, at the same time: where they have to be retrieved each costs a round trip.
func readOCILayout(ctx context.Context, source Source, p Path) layoutReader {
	read := map[string]func() ([]byte, error){}
	for _, name := range []string{ocispec.ImageLayoutFile, ocispec.ImageIndexFile} {
		once := sync.OnceValues(func() ([]byte, error) { return readSmall(ctx, source, file(p.Join(name))) })
		go func() { _, _ = once() }() // what it returns is asked for later
		read[name] = once
	}
	return func(name string) ([]byte, error) { return read[name]() }
}

// openOCILayout makes a layout of the directory found at p.
func openOCILayout(p Path, read layoutReader) (form, error) {
	index, err := readLayout(p, "directory", read)
	if err != nil {
		return nil, err
	}
	return &ociLayout{root: p, index: index}, nil
}

// readLayout reads the files that make a layout of the directory, or whatever
// kind of thing it is, at p.
func readLayout(p Path, kind string, read layoutReader) ([]ocispec.Descriptor, error) {
	marker, err := readPart(p, kind, ocispec.ImageLayoutFile, read)
	if err != nil {
		return nil, err
	}
	var version ocispec.ImageLayout
	if err := json.Unmarshal(marker, &version); err != nil || version.Version != ocispec.ImageLayoutVersion {
		return nil, notImage(p, fmt.Errorf("its file oci-layout does not say imageLayoutVersion %q", ocispec.ImageLayoutVersion))
	}
	data, err := readPart(p, kind, ocispec.ImageIndexFile, read)
	if err != nil {
		return nil, err
	}
	index, err := parseManifest(data)
	if err != nil {
		return nil, notImage(p, fmt.Errorf("of its index.json: %w", err))
	}
	return index.Manifests, nil
}

// readPart reads one of the files that make a layout.
func readPart(p Path, kind, name string, read layoutReader) ([]byte, error) {
	data, err := read(name)
	var other *NotFileError
	switch {
	case err == nil:
		return data, nil
	case ClassOf(err) == NotFound || errors.As(err, &other) || errors.Is(err, fs.ErrNotExist):
		return nil, notImage(p, fmt.Errorf("it is a %s like an OCI image layout, but without the file %s", kind, name))
	case errors.Is(err, errTooLarge):
		return nil, notImage(p, fmt.Errorf("of its file %s: %w", name, err))
	default:
		return nil, err
	}
}
