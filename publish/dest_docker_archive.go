package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/distribution/reference"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/archive"
)

// dockerDestination is a new archive that "docker load" reads. Layers stay as
// they are but for zstd, which engines before 23 don't unpack.
type dockerDestination struct {
	*tarFile
	op   string
	name string // the whole name, empty for none

	mu        sync.Mutex
	manifests map[digest.Digest]ocispec.Manifest
}

func newDockerDestination(where location) (Destination, error) {
	d := &dockerDestination{op: "write " + where.text, manifests: map[digest.Digest]ocispec.Manifest{}}
	if where.ref != "" {
		named, err := normalize(where.ref)
		if err != nil {
			return nil, malformed(d.op, err, "name an image after the colon")
		}
		d.name = reference.FamiliarString(named)
	}
	var err error
	d.tarFile, err = createTar(where)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (d *dockerDestination) Wants() Wants { return Wants{OneManifest: true} }

func (d *dockerDestination) Has(context.Context, ocispec.Descriptor) (bool, error) { return false, nil }

func (d *dockerDestination) Put(_ context.Context, desc ocispec.Descriptor, r io.Reader) error {
	switch {
	case images.IsManifestType(desc.MediaType):
		return d.keep(desc, r)
	case strings.HasSuffix(desc.MediaType, "+zstd"):
		return d.unpacked(desc, r)
	default:
		return d.add(dockerPath(desc), desc.Size, r)
	}
}

// dockerPath is where the archive has the config or a layer.
func dockerPath(desc ocispec.Descriptor) string {
	if images.IsConfigType(desc.MediaType) {
		return desc.Digest.Encoded() + ".json"
	}
	return desc.Digest.Encoded() + ".tar"
}

// keep remembers a manifest until Finish.
func (d *dockerDestination) keep(desc ocispec.Descriptor, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.manifests[desc.Digest] = m
	return nil
}

// unpacked writes a zstd layer as the tar in it, by way of a file, because its
// length stands before it.
func (d *dockerDestination) unpacked(desc ocispec.Descriptor, r io.Reader) (err error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	f, err := spool(z, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(io.Discard, r); err != nil { // the digest is proved at the end
		return err
	}
	return d.addFile(dockerPath(desc), f)
}

func (d *dockerDestination) addFile(name string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return d.add(name, info.Size(), f)
}

// Finish writes manifest.json.
func (d *dockerDestination) Finish(_ context.Context, p Pulled) error {
	m, ok := d.manifests[p.Root.Digest]
	if !ok || !images.IsConfigType(m.Config.MediaType) {
		return fail(image.NotImage, d.op, fmt.Errorf("%s is no image that Docker can run", p.Root.Digest), "pull it to oci:DIR")
	}
	im := archive.DockerImage{Config: dockerPath(m.Config)}
	if d.name != "" {
		im.RepoTags = []string{d.name}
	}
	for _, layer := range m.Layers {
		im.Layers = append(im.Layers, dockerPath(layer))
	}
	if err := d.addJSON(archive.DockerManifest, []archive.DockerImage{im}); err != nil {
		return err
	}
	return d.commit()
}

func (d *dockerDestination) Close() error { return d.file.Close() }
