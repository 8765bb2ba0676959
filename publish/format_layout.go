package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"path"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layout makes an OCI image layout directory: one DAG that holds every manifest
// and blob under its digest, and what is attached to them. An index keeps its
// bytes, and so its digest and its signatures, when platforms are left out:
// then it names manifests that the directory does not have.
func (p *push) layout(ctx context.Context) (Result, error) {
	attached, err := p.attach(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := p.addBlobs(ctx); err != nil {
		return Result{}, err
	}
	for _, m := range p.manifests {
		if p.cids[m.desc.Digest], err = p.addBytes(ctx, m.data); err != nil {
			return Result{}, err
		}
	}
	root := plain(p.transfer.src.Root())
	index := layoutIndex(root, p.tag(), attached)
	index.Manifests[0].Data = p.embedded(root)
	c, err := p.addLayout(ctx, index)
	if err != nil {
		return Result{}, err
	}
	result, err := p.publish(ctx, c, root, nil)
	result.Tag = p.tag()
	return result, err
}

// maxEmbedded is the size in bytes of the largest manifest that index.json has in
// it. Most have a few KiB.
const maxEmbedded = 16 << 10

// embedded returns the manifest of the image when it is small: with it in
// index.json who pulls from afar waits for one answer less. OCI image spec,
// "descriptor.md", "Embedded Content".
func (p *push) embedded(root ocispec.Descriptor) []byte {
	for _, m := range p.manifests {
		if m.desc.Digest == root.Digest && len(m.data) <= maxEmbedded {
			return m.data
		}
	}
	return nil
}

// addLayout puts the directory together.
func (p *push) addLayout(ctx context.Context, index ocispec.Index) (cid.Cid, error) {
	entries := make(map[string]cid.Cid, len(p.cids)+2)
	for dgst, c := range p.cids {
		entries[blobPath(dgst)] = c
	}
	for name, v := range map[string]any{ocispec.ImageLayoutFile: layoutMarker(), ocispec.ImageIndexFile: index} {
		data, err := json.Marshal(v)
		if err != nil {
			return cid.Undef, err
		}
		if entries[name], err = p.addBytes(ctx, data); err != nil {
			return cid.Undef, err
		}
	}
	c, err := p.sink.AddDir(ctx, entries, p.chunker)
	if err != nil {
		return cid.Undef, fmt.Errorf("store the directory of %s: %w", p.name, err)
	}
	return c, nil
}

// layoutIndex is the index.json of a layout with one image. The same image
// makes the same bytes wherever it comes from.
func layoutIndex(root ocispec.Descriptor, tag string, attached []ocispec.Descriptor) ocispec.Index {
	index := newIndex()
	index.Manifests = append(index.Manifests, tagged(root, tag))
	index.Manifests = append(index.Manifests, attached...)
	return index
}

func newIndex() ocispec.Index {
	return ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
}

func layoutMarker() ocispec.ImageLayout {
	return ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}
}

// tagged is desc, plain, as an index.json holds it.
func tagged(desc ocispec.Descriptor, tag string) ocispec.Descriptor {
	desc = plain(desc)
	if tag != "" {
		desc.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	}
	return desc
}

// blobPath is where a layout has the content of a digest.
func blobPath(dgst digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, dgst.Algorithm().String(), dgst.Encoded())
}
