package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DockerManifest is the entry that says what images are in an archive of
// "docker save".
const DockerManifest = "manifest.json"

const (
	// maxLayers is how many layers all the images of an archive may have.
	maxLayers = 4096
	// maxDocument is how many bytes a config may have.
	maxDocument = 4 << 20
)

// ErrCorrupt is in the chain of an error that says that content is not what
// the archive says it is.
var ErrCorrupt = errors.New("the archive contradicts itself")

// DockerImage is an image of an archive of "docker save". Moby,
// image/tarexport.
type DockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// ParseDocker reads a manifest.json.
func ParseDocker(data []byte) ([]DockerImage, error) {
	var all []DockerImage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fault("its manifest.json is none: %w", err)
	}
	layers := 0
	for _, im := range all {
		if im.Config == "" {
			return nil, fault("its manifest.json has an image without a config")
		}
		if layers += 1 + len(im.Layers); layers > maxLayers {
			return nil, fault("its manifest.json has images of more than %d layers", maxLayers)
		}
	}
	return all, nil
}

// Described is a DockerImage with the OCI manifest made for it.
type Described struct {
	// Root describes Manifest.
	Root     ocispec.Descriptor
	Manifest []byte
	// Names are those of the entries that have the config and the layers.
	Names map[digest.Digest]string
}

// Opener opens an entry and tells its size in bytes.
type Opener func(name string) (io.ReadCloser, int64, error)

// Describe makes the manifest of Docker's config, unchanged, and of the layers
// as they lie in the archive, so that the same image has the same digests
// always. A layer that is not compressed has the digest that the config says,
// and is not read for it: whoever reads it finds out a lie. The error is a
// FaultError or, in its chain, has ErrCorrupt, where it is not that of open.
func (im DockerImage) Describe(open Opener) (*Described, error) {
	d := &Described{Names: map[digest.Digest]string{}}
	config, diffIDs, err := d.config(im, open)
	if err != nil {
		return nil, err
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{}}
	for i, name := range im.Layers {
		layer, err := describeLayer(name, diffIDs[i], open)
		if err != nil {
			return nil, fmt.Errorf("of its layer %s: %w", quote(name), err)
		}
		d.Names[layer.Digest] = name
		m.Layers = append(m.Layers, layer)
	}
	if d.Manifest, err = json.Marshal(m); err != nil {
		return nil, err
	}
	d.Root = describe(ocispec.MediaTypeImageManifest, d.Manifest)
	return d, nil
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// config reads the config and returns the digests of the unpacked layers.
func (d *Described) config(im DockerImage, open Opener) (desc ocispec.Descriptor, diffIDs []digest.Digest, err error) {
	data, err := readSmall(im.Config, open)
	if err != nil {
		return desc, nil, fmt.Errorf("of its config: %w", err)
	}
	desc = describe(ocispec.MediaTypeImageConfig, data)
	// Docker names a config by its digest.
	if base := path.Base(im.Config); regexp.MustCompile(`^[0-9a-f]{64}\.json$`).MatchString(base) && base != desc.Digest.Encoded()+".json" {
		return desc, nil, fmt.Errorf("%w: the config %s has the digest %s", ErrCorrupt, quote(im.Config), desc.Digest)
	}
	var parsed ocispec.Image
	if err := json.Unmarshal(data, &parsed); err != nil {
		return desc, nil, fault("its config is none: %w", err)
	}
	diffIDs = parsed.RootFS.DiffIDs
	if len(diffIDs) != len(im.Layers) {
		return desc, nil, fmt.Errorf("%w: it has %d layers and its config says %d", ErrCorrupt, len(im.Layers), len(diffIDs))
	}
	for _, id := range diffIDs {
		if err := id.Validate(); err != nil {
			return desc, nil, fault("its config names the layer %s: %w", quote(id.String()), err)
		}
	}
	d.Names[desc.Digest] = im.Config
	return desc, diffIDs, nil
}

func readSmall(name string, open Opener) ([]byte, error) {
	rc, size, err := open(name)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	if size > maxDocument {
		return nil, fault("it has more than %d bytes", maxDocument)
	}
	data := make([]byte, size)
	_, err = io.ReadFull(rc, data)
	return data, err
}

// describeLayer describes a layer as it lies in the archive.
func describeLayer(name string, diffID digest.Digest, open Opener) (ocispec.Descriptor, error) {
	rc, size, err := open(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer rc.Close()
	head := make([]byte, min(size, 2))
	if _, err := io.ReadFull(rc, head); err != nil {
		return ocispec.Descriptor{}, err
	}
	if !bytes.Equal(head, []byte{0x1f, 0x8b}) {
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffID, Size: size}, nil
	}
	packed, unpacked, err := gunzip(io.MultiReader(bytes.NewReader(head), rc), diffID.Algorithm())
	if err == nil && unpacked != diffID {
		err = fmt.Errorf("%w: it is not the %s of the config", ErrCorrupt, diffID)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: packed, Size: size}, err
}

// gunzip reads a compressed layer to its end and returns its digest and that of
// the tar in it.
func gunzip(r io.Reader, of digest.Algorithm) (packed, unpacked digest.Digest, err error) {
	outer := digest.Canonical.Digester()
	r = io.TeeReader(r, outer.Hash())
	if unpacked, err = UnpackedDigest(r, ocispec.MediaTypeImageLayerGzip, of); err != nil {
		return "", "", err
	}
	_, err = io.Copy(io.Discard, r) // what follows a gzip stream belongs to the digest
	return outer.Digest(), unpacked, err
}
