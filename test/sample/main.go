// Command sample writes a small image that runs, as an OCI image layout: one
// static program, in one layer, on nothing. It needs only Go, and the same Go
// makes the same image.
//
// Usage: go run ./test/sample DIR
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	_ "crypto/sha256" // go-digest has only what is linked in
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: sample DIR")
		os.Exit(2)
	}
	if err := write(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "error: write the sample image:", err)
		os.Exit(1)
	}
}

// write makes the image in the layout at dir; what is there already stays.
func write(ctx context.Context, dir string) error {
	program, err := build(ctx)
	if err != nil {
		return err
	}
	archive, err := tarball("greeting", program)
	if err != nil {
		return err
	}
	layer, err := compress(archive)
	if err != nil {
		return err
	}
	layout, err := oci.New(dir)
	if err != nil {
		return err
	}
	return store(ctx, layout, layer, digest.FromBytes(archive))
}

// store puts the layer, whose tar has the digest diffID, and what describes it
// into the layout, under the tag latest.
func store(ctx context.Context, layout *oci.Store, layer []byte, diffID digest.Digest) error {
	layerDesc, err := add(ctx, layout, ocispec.MediaTypeImageLayerGzip, layer)
	if err != nil {
		return err
	}
	configDesc, err := addJSON(ctx, layout, ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config:   ocispec.ImageConfig{Entrypoint: []string{"/greeting"}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
	})
	if err != nil {
		return err
	}
	manifest, err := addJSON(ctx, layout, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    configDesc,
		Layers:    []ocispec.Descriptor{layerDesc},
	})
	if err != nil {
		return err
	}
	return layout.Tag(ctx, manifest, "latest")
}

func addJSON(ctx context.Context, layout *oci.Store, mediaType string, v any) (ocispec.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return add(ctx, layout, mediaType, data)
}

func add(ctx context.Context, layout *oci.Store, mediaType string, data []byte) (ocispec.Descriptor, error) {
	desc := content.NewDescriptorFromBytes(mediaType, data)
	err := layout.Push(ctx, desc, bytes.NewReader(data))
	if errors.Is(err, errdef.ErrAlreadyExists) {
		err = nil
	}
	return desc, err
}

// build returns the greeting program for Linux.
func build(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "sample-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	out := filepath.Join(dir, "greeting")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out,
		"github.com/ipfs-registry/ipfs-registry/test/sample/greeting")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("build the greeting: %w", err)
	}
	return os.ReadFile(out)
}

func tarball(name string, data []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func compress(data []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
