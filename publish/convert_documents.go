package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/converter"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// fields are a JSON object of which only some is understood. The rest stays.
type fields map[string]json.RawMessage

func (f fields) set(name string, v any) error {
	data, err := json.Marshal(v)
	f[name] = data
	return err
}

// rewrite records what m becomes, if anything below it was converted.
func (c *conversion) rewrite(ctx context.Context, m *manifest) error {
	var f fields
	var err error
	switch {
	case images.IsIndexType(m.desc.MediaType):
		f, err = c.index(m)
	case isRunnable(m):
		f, err = c.image(ctx, m)
	}
	if f == nil || err != nil {
		return err
	}
	annotations := map[string]string{}
	maps.Copy(annotations, m.document.Annotations)
	annotations[image.AnnotationConvertedFrom] = m.desc.Digest.String()
	if err := f.set("annotations", annotations); err != nil {
		return err
	}
	mediaType := converter.ConvertDockerMediaTypeToOCI(m.desc.MediaType)
	if err := f.set("mediaType", mediaType); err != nil {
		return err
	}
	attached, err := c.transfer.src.Referrers(ctx, m.desc)
	if err != nil {
		return err
	}
	c.left = append(c.left, attached...)
	return c.record(m.desc, mediaType, f)
}

// record keeps what a document became.
func (c *conversion) record(before ocispec.Descriptor, mediaType string, f fields) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	now := before
	now.MediaType, now.Digest, now.Size, now.URLs, now.Data = mediaType, digest.FromBytes(data), int64(len(data)), nil, nil
	c.now[before.Digest], c.documents[now.Digest] = now, data
	return nil
}

// updated is desc as it describes what its content became.
func (c *conversion) updated(desc ocispec.Descriptor) ocispec.Descriptor {
	if now, ok := c.now[desc.Digest]; ok {
		desc.MediaType, desc.Digest, desc.Size, desc.URLs, desc.Data = now.MediaType, now.Digest, now.Size, nil, nil
	}
	return desc
}

// image returns what the manifest of an image becomes, or nil.
func (c *conversion) image(ctx context.Context, m *manifest) (fields, error) {
	layers, diffIDs := []ocispec.Descriptor{}, map[int]digest.Digest{}
	for i, desc := range m.document.Layers {
		if l, ok := c.layers[desc.Digest]; ok && isLayer(desc.MediaType) {
			desc, diffIDs[i] = l.Describe(desc), l.DiffID
		}
		desc.MediaType = converter.ConvertDockerMediaTypeToOCI(desc.MediaType)
		layers = append(layers, desc)
	}
	if len(diffIDs) == 0 {
		return nil, nil
	}
	var f fields
	if err := json.Unmarshal(m.data, &f); err != nil {
		return nil, c.refuse(m.desc, err)
	}
	if err := f.set("layers", layers); err != nil {
		return nil, err
	}
	config, err := c.config(ctx, *m.document.Config, len(layers), diffIDs)
	if err != nil {
		return nil, err
	}
	return f, f.set("config", config)
}

// config records what the config of n layers becomes when some have other diff
// IDs, and describes it.
func (c *conversion) config(ctx context.Context, desc ocispec.Descriptor, n int, diffIDs map[int]digest.Digest) (ocispec.Descriptor, error) {
	data, err := c.small(ctx, desc)
	if err != nil {
		return desc, err
	}
	var f, rootfs fields
	var all []digest.Digest
	err = json.Unmarshal(data, &f)
	if err == nil {
		err = json.Unmarshal(f["rootfs"], &rootfs)
	}
	if err == nil {
		err = json.Unmarshal(rootfs["diff_ids"], &all)
	}
	if err == nil && len(all) != n {
		err = fmt.Errorf("it has %d diff IDs and its manifest %d layers", len(all), n)
	}
	if err != nil {
		return desc, c.refuse(desc, fmt.Errorf("it is no image config: %w", err))
	}
	for i, dgst := range diffIDs {
		all[i] = dgst
	}
	if err := errors.Join(rootfs.set("diff_ids", all), f.set("rootfs", rootfs)); err != nil {
		return desc, err
	}
	if err := c.record(desc, ocispec.MediaTypeImageConfig, f); err != nil {
		return desc, err
	}
	return c.updated(desc), nil
}

// index returns what an index becomes, or nil. It has only what was taken of it,
// and nothing that is about what was converted.
func (c *conversion) index(m *manifest) (fields, error) {
	changed := slices.ContainsFunc(m.kept, func(desc ocispec.Descriptor) bool { return c.now[desc.Digest].Digest != "" })
	if !changed {
		return nil, nil
	}
	entries := []ocispec.Descriptor{}
	for _, desc := range m.kept {
		if _, about := c.now[digest.Digest(desc.Annotations["vnd.docker.reference.digest"])]; about {
			c.left = append(c.left, desc) // an attestation of BuildKit's
			continue
		}
		entries = append(entries, c.updated(desc))
	}
	var f fields
	if err := json.Unmarshal(m.data, &f); err != nil {
		return nil, c.refuse(m.desc, err)
	}
	return f, f.set("manifests", entries)
}
