package main

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
)

// writeLayout makes an OCI image layout with one image of one layer, tagged
// latest. That the layer is no tar is nothing that a registry would look at.
func writeLayout(dir string, layer []byte) error {
	layout, err := oci.New(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	add := func(mediaType string, data []byte) ocispec.Descriptor {
		desc := content.NewDescriptorFromBytes(mediaType, data)
		if e := layout.Push(ctx, desc, bytes.NewReader(data)); e != nil && err == nil {
			err = e
		}
		return desc
	}
	addJSON := func(mediaType string, v any) ocispec.Descriptor {
		data, e := json.Marshal(v)
		if e != nil && err == nil {
			err = e
		}
		return add(mediaType, data)
	}
	layerDesc := add(ocispec.MediaTypeImageLayer, layer)
	config := addJSON(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layerDesc.Digest}},
	})
	manifest := addJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{layerDesc},
	})
	if err != nil {
		return err
	}
	return layout.Tag(ctx, manifest, "latest")
}
