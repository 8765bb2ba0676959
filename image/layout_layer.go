package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image/archive"
)

// The words of the layer manifest of ocipfs.
const (
	MediaTypeLayer = "application/vnd.ocipfs.layer.manifest.v1+json"
	// AnnotationLayerCID is where the layer is: a CID and the path below it.
	AnnotationLayerCID = "io.ocipfs.layer.ipfs.cid"
	// AnnotationLayerDiffID is the digest of the uncompressed layer.
	AnnotationLayerDiffID = "io.ocipfs.layer.fs.digest"
)

// LayerManifest is the JSON document that ocipfs reads.
type LayerManifest struct {
	MediaType string             `json:"mediaType"`
	Layer     ocispec.Descriptor `json:"layer"`
}

// singleLayer is an image of one layer that a layer manifest of ocipfs stands
// for. Its manifest and config are made here, the same for whoever asks. Its
// only tag is the name of the layer's file.
type singleLayer struct {
	root   ocispec.Descriptor
	places map[digest.Digest]location
}

func (l *singleLayer) name() string                { return "ocipfs layer" }
func (l *singleLayer) roots() []ocispec.Descriptor { return []ocispec.Descriptor{l.root} }

func (l *singleLayer) locate(desc ocispec.Descriptor) (location, error) {
	at, ok := l.places[desc.Digest]
	if !ok {
		return at, errors.New("the layer manifest does not name it")
	}
	return at, nil
}

func (l *singleLayer) guess(digest.Digest) []location { return nil }

// openLayer makes an image of a layer manifest.
func openLayer(ctx context.Context, source Source, data []byte) (form, error) {
	var m LayerManifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("no layer manifest: %w", err)
	}
	at, err := locateLayer(m.Layer)
	if err != nil {
		return nil, fmt.Errorf("its layer manifest is none: %w", err)
	}
	diffID := digest.Digest(m.Layer.Annotations[AnnotationLayerDiffID])
	if diffID == "" {
		diffID, err = unpackedDigest(ctx, source, at, m.Layer)
	} else {
		err = diffID.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("the digest of its unpacked layer: %w", err)
	}
	return newSingleLayer(m.Layer, at, diffID)
}

// locateLayer checks the descriptor of a layer and says where the layer is.
func locateLayer(desc ocispec.Descriptor) (location, error) {
	if err := checkDescriptor(desc); err != nil {
		return location{}, err
	}
	switch desc.MediaType {
	case ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd, dockerLayer:
	default:
		return location{}, fmt.Errorf("its layer has the media type %q, which is that of no layer", shorten(desc.MediaType))
	}
	text := desc.Annotations[AnnotationLayerCID]
	if text == "" {
		return linked(desc)
	}
	p, err := parsePath(text)
	if err != nil {
		return location{}, fmt.Errorf("its annotation %s is no CID with a path: %w", AnnotationLayerCID, err)
	}
	return file(p), nil
}

func newSingleLayer(layer ocispec.Descriptor, at location, diffID digest.Digest) (form, error) {
	config, err := json.Marshal(ocispec.Image{
		// A layer is for no platform; this is the one that is taken for granted.
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
	})
	if err != nil {
		return nil, err
	}
	l := &singleLayer{places: map[digest.Digest]location{layer.Digest: at}}
	manifest, err := json.Marshal(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: l.make(ocispec.MediaTypeImageConfig, config),
		Layers: []ocispec.Descriptor{{MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size}}})
	if err != nil {
		return nil, err
	}
	l.root = l.make(ocispec.MediaTypeImageManifest, manifest)
	if name := path.Base(at.path.Rest); at.path.Rest != "" && IsTag(name) {
		l.root.Annotations = map[string]string{ocispec.AnnotationRefName: name}
	}
	return l, nil
}

// make keeps a document of the image.
func (l *singleLayer) make(mediaType string, data []byte) ocispec.Descriptor {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	l.places[desc.Digest] = location{made: data}
	return desc
}

// unpackedDigest reads the layer and unpacks it. That its bytes are the right
// ones shows when they are served.
func unpackedDigest(ctx context.Context, source Source, at location, desc ocispec.Descriptor) (digest.Digest, error) {
	f, err := at.open(ctx, source)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if f.Size() != desc.Size {
		return "", fmt.Errorf("the layer has %d bytes and its descriptor says %d", f.Size(), desc.Size)
	}
	return archive.UnpackedDigest(f, desc.MediaType, digest.Canonical)
}

// parsePath reads <CID>[/<path>], the CID of any version and base.
func parsePath(s string) (Path, error) {
	root, rest := cutFirst(s)
	c, err := cid.Decode(root)
	if err != nil {
		return Path{}, fmt.Errorf("%q is no CID: %w", shorten(root), err)
	}
	return Path{Root: cid.NewCidV1(c.Type(), c.Hash()), Rest: rest}, checkRest(rest)
}
