package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/converter"
	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// nerdctl makes, byte for byte, what "nerdctl push ipfs://" makes: each file
// alone, every descriptor with the CID of what it describes as its URL, Docker's
// media types replaced by OCI's, and the root's descriptor as a JSON file. The
// digests of manifests change on the way, so what is attached stays behind.
// (stargz-snapshotter, ipfs/converter.go; containerd, core/images/converter.)
func (p *push) nerdctl(ctx context.Context) (Result, error) {
	if err := p.addBlobs(ctx); err != nil {
		return Result{}, err
	}
	n := &nerdctlForm{push: p, rewritten: map[digest.Digest]ocispec.Descriptor{}}
	for _, m := range p.manifests { // what is below comes first
		if err := n.rewrite(ctx, m); err != nil {
			return Result{}, err
		}
	}
	desc := n.convert(p.transfer.src.Root())
	data, err := json.Marshal(desc)
	if err != nil {
		return Result{}, err
	}
	root, err := p.addBytes(ctx, data)
	if err != nil {
		return Result{}, err
	}
	result, err := p.publish(ctx, root, desc, n.parts())
	result.Size += n.grown
	return result, err
}

type nerdctlForm struct {
	*push
	// rewritten has the new digest, size and URL by the old digest.
	rewritten map[digest.Digest]ocispec.Descriptor
	grown     int64 // by how many bytes, all together
}

// rewrite stores m with the descriptors that its children have now.
func (n *nerdctlForm) rewrite(ctx context.Context, m *manifest) error {
	data, err := n.bytes(m)
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", m.desc.Digest, err)
	}
	c, err := n.addBytes(ctx, data)
	if err != nil {
		return err
	}
	n.cids[m.desc.Digest] = c
	n.grown += int64(len(data)) - m.desc.Size
	n.rewritten[m.desc.Digest] = ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	return nil
}

// bytes returns the new bytes of m. They are made with the same structs as
// containerd's, which drop what these don't know.
func (n *nerdctlForm) bytes(m *manifest) ([]byte, error) {
	switch {
	case images.IsIndexType(m.desc.MediaType):
		return n.index(m)
	case images.IsManifestType(m.desc.MediaType):
		return n.manifest(m)
	default:
		return m.data, nil
	}
}

func (n *nerdctlForm) index(m *manifest) ([]byte, error) {
	var index ocispec.Index
	if err := json.Unmarshal(m.data, &index); err != nil {
		return nil, err
	}
	index.MediaType = converter.ConvertDockerMediaTypeToOCI(index.MediaType)
	index.Manifests = nil
	for _, child := range m.kept {
		index.Manifests = append(index.Manifests, n.convert(child))
	}
	return json.Marshal(&index)
}

func (n *nerdctlForm) manifest(m *manifest) ([]byte, error) {
	var doc ocispec.Manifest
	if err := json.Unmarshal(m.data, &doc); err != nil {
		return nil, err
	}
	doc.MediaType = converter.ConvertDockerMediaTypeToOCI(doc.MediaType)
	doc.Config = n.convert(doc.Config)
	for i, layer := range doc.Layers {
		doc.Layers[i] = n.convert(layer)
	}
	return json.Marshal(&doc)
}

// convert is desc as it describes what is in the sink now.
func (n *nerdctlForm) convert(desc ocispec.Descriptor) ocispec.Descriptor {
	desc.URLs = []string{"ipfs://" + n.cids[desc.Digest].String()}
	if now, ok := n.rewritten[desc.Digest]; ok {
		desc.Digest, desc.Size = now.Digest, now.Size
	}
	desc.MediaType = converter.ConvertDockerMediaTypeToOCI(desc.MediaType)
	return desc
}

// parts are the CIDs that the root names in words only.
func (n *nerdctlForm) parts() []cid.Cid {
	byKey := map[string]cid.Cid{}
	for _, c := range n.cids {
		byKey[c.KeyString()] = c
	}
	parts := make([]cid.Cid, 0, len(byKey))
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		parts = append(parts, byKey[key])
	}
	return parts
}
