package publish

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// tarFile is a tar archive that is being written, one entry after the other
// though several bring them.
type tarFile struct {
	file *newFile

	mu     sync.Mutex
	tar    *tar.Writer
	broken error // why an entry is not whole, so that no other can follow it
}

func createTar(where location) (*tarFile, error) {
	f, err := createFile(where.path)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", where.text, err)
	}
	return &tarFile{file: f, tar: tar.NewWriter(f)}, nil
}

// add writes a file. After one that failed it fails for the same reason, and not
// for what the archive has become by it: those who wait for their turn can be
// the first whose error is seen.
func (t *tarFile) add(name string, size int64, r io.Reader) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil {
		t.broken = t.write(name, size, r)
	}
	return t.broken
}

// write writes an entry. All of its header but the name and size is the same on
// every machine and day.
func (t *tarFile) write(name string, size int64, r io.Reader) error {
	if err := t.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}); err != nil {
		return err
	}
	_, err := io.Copy(t.tar, r)
	return err
}

func (t *tarFile) addJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.add(name, int64(len(data)), bytes.NewReader(data))
}

// commit gives the archive its name.
func (t *tarFile) commit() error {
	if err := t.tar.Close(); err != nil {
		return err
	}
	return t.file.commit()
}

// archiveDestination is an OCI image layout in a new tar archive.
type archiveDestination struct {
	*tarFile
	tag string
}

func newArchiveDestination(where location) (Destination, error) {
	if where.ref != "" && !image.IsTag(where.ref) {
		return nil, malformed("write "+where.text, fmt.Errorf("%s is no tag", quote(where.ref)), "name a tag after the colon")
	}
	t, err := createTar(where)
	if err != nil {
		return nil, err
	}
	return &archiveDestination{t, where.ref}, nil
}

func (d *archiveDestination) Wants() Wants { return Wants{Attached: true} }

func (d *archiveDestination) Has(context.Context, ocispec.Descriptor) (bool, error) {
	return false, nil
}

func (d *archiveDestination) Put(_ context.Context, desc ocispec.Descriptor, r io.Reader) error {
	return d.add(blobPath(desc.Digest), desc.Size, r)
}

func (d *archiveDestination) Finish(_ context.Context, p Pulled) error {
	index := layoutIndex(p.Root, chosenTag(d.tag, p.Tag), p.Attached)
	if err := d.addJSON(ocispec.ImageLayoutFile, layoutMarker()); err != nil {
		return err
	}
	if err := d.addJSON(ocispec.ImageIndexFile, index); err != nil {
		return err
	}
	return d.commit()
}

func (d *archiveDestination) Close() error { return d.file.Close() }
