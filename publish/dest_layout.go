package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

var errReadOnly = errors.New("nothing can be put there")

// layoutDestination is an OCI image layout directory, new or with other images
// in it.
type layoutDestination struct {
	dir string
	tag string
	// mark makes the directory one that a pull may be repeated into.
	mark func() error
}

func newLayoutDestination(where location) (Destination, error) {
	d := &layoutDestination{dir: where.path, tag: where.ref}
	d.mark = sync.OnceValue(d.writeMarker)
	op := "write " + where.text
	if d.tag != "" && !image.IsTag(d.tag) {
		return nil, malformed(op, fmt.Errorf("%s is no tag", quote(d.tag)), "name a tag after the colon")
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if len(entries) == 0 {
		return d, nil
	}
	if _, err := d.index(); err != nil {
		return nil, malformed(op, fmt.Errorf("the directory is neither empty nor an OCI image layout: %w", err), "name another directory")
	}
	return d, nil
}

func (d *layoutDestination) Wants() Wants { return Wants{Attached: true} }

func (d *layoutDestination) path(name string) string {
	return filepath.Join(d.dir, filepath.FromSlash(name))
}

// Has takes a file of the right size for the content: Put makes no other.
func (d *layoutDestination) Has(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	info, err := os.Stat(d.path(blobPath(desc.Digest)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Mode().IsRegular() && info.Size() == desc.Size, err
}

func (d *layoutDestination) Put(_ context.Context, desc ocispec.Descriptor, r io.Reader) error {
	if err := d.mark(); err != nil {
		return err
	}
	name := d.path(blobPath(desc.Digest))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return writeNew(name, r)
}

func (d *layoutDestination) writeMarker() error {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	return d.writeJSON(ocispec.ImageLayoutFile, layoutMarker())
}

// Finish writes index.json last: without it there is no layout.
func (d *layoutDestination) Finish(_ context.Context, p Pulled) error {
	if err := d.mark(); err != nil {
		return err
	}
	index, err := d.index()
	if err != nil {
		return err
	}
	for _, entry := range layoutIndex(p.Root, chosenTag(d.tag, p.Tag), p.Attached).Manifests {
		index.Manifests = replaceEntry(index.Manifests, entry)
	}
	return d.writeJSON(ocispec.ImageIndexFile, index)
}

// replaceEntry puts entry in the place of the one that has its tag or, when it
// has none, of the one without that has its digest.
func replaceEntry(list []ocispec.Descriptor, entry ocispec.Descriptor) []ocispec.Descriptor {
	tag := refName(entry)
	list = slices.DeleteFunc(list, func(old ocispec.Descriptor) bool {
		return refName(old) == tag && (tag != "" || old.Digest == entry.Digest)
	})
	return append(list, entry)
}

// chosenTag is the tag that was asked for, else the one that was pulled.
func chosenTag(asked, pulled string) string {
	if asked != "" {
		return asked
	}
	return pulled
}

// index reads the index of the layout that is there, a new one when a pull
// before this one did not come to its end.
func (d *layoutDestination) index() (index ocispec.Index, err error) {
	if _, err := readFile(directory(d.dir), ocispec.ImageLayoutFile); err != nil {
		return index, err
	}
	data, err := readFile(directory(d.dir), ocispec.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return newIndex(), nil
	}
	if err != nil {
		return index, err
	}
	return index, json.Unmarshal(data, &index)
}

func (d *layoutDestination) writeJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeNew(d.path(name), bytes.NewReader(data))
}

func (d *layoutDestination) Close() error { return nil }
