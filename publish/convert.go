package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/archive"
	"github.com/ipfs-registry/ipfs-registry/publish/lazy"
)

// conversion makes of an image one whose layers can be read lazily. The layers
// become other bytes, and so the config and the manifests, too.
type conversion struct {
	*survey
	format lazy.Format
	packer *lazy.Packer
	dir    string // where the layers lie meanwhile

	mu     sync.Mutex
	layers map[digest.Digest]*lazy.Layer // by the digest before

	now       map[digest.Digest]ocispec.Descriptor // of manifests and configs, by the digest before
	documents map[digest.Digest][]byte
	// left are the manifests about what was converted, which are not about
	// what it became.
	left []ocispec.Descriptor
}

// convert converts what was surveyed. The caller closes the result, not its
// source.
func (s *survey) convert(ctx context.Context, o PushOptions) (*conversion, error) {
	c := &conversion{survey: s, format: o.Lazy, dir: o.TempDir,
		packer: lazy.NewPacker(o.Lazy, o.TempDir, o.First, runtime.GOMAXPROCS(0)),
		layers: map[digest.Digest]*lazy.Layer{}, now: map[digest.Digest]ocispec.Descriptor{}, documents: map[digest.Digest][]byte{}}
	err := c.packAll(ctx)
	for _, m := range s.manifests { // what is below comes first
		if err == nil {
			err = c.rewrite(ctx, m)
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Close gives back the disk that the layers take.
func (c *conversion) Close() error {
	var err error
	for _, l := range c.layers {
		err = errors.Join(err, l.Close())
	}
	return err
}

// packAll converts the layers, some side by side.
func (c *conversion) packAll(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	seen := map[digest.Digest]bool{}
	for _, m := range c.leaves() {
		if !isRunnable(m) {
			continue
		}
		for _, desc := range m.document.Layers {
			if !seen[desc.Digest] && isLayer(desc.MediaType) {
				seen[desc.Digest] = true
				group.Go(func() error { return c.pack(ctx, desc) })
			}
		}
	}
	return group.Wait()
}

// isRunnable reports whether a manifest is of an image with a file system.
func isRunnable(m *manifest) bool {
	return images.IsManifestType(m.desc.MediaType) && m.document.Config != nil && images.IsConfigType(m.document.Config.MediaType)
}

// isLayer reports whether content of the media type is a tar that may be packed
// anew. It is not where its licence forbids to distribute it, or where it is
// encrypted.
func isLayer(mediaType string) bool {
	base, how, _ := strings.Cut(mediaType, "+")
	switch base {
	case images.MediaTypeDockerSchema2Layer, images.MediaTypeDockerSchema2LayerGzip, images.MediaTypeDockerSchema2LayerZstd:
		return how == ""
	case ocispec.MediaTypeImageLayer:
		return how == "" || how == "gzip" || how == "zstd"
	}
	return false
}

// pack converts a layer, unless it is of the format already.
func (c *conversion) pack(ctx context.Context, desc ocispec.Descriptor) error {
	unpacked, err := c.unpack(ctx, desc)
	if unpacked == nil || err != nil {
		return err
	}
	defer unpacked.Close()
	l, err := c.packer.Pack(ctx, unpacked)
	if err != nil {
		return c.explain(desc, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.layers[desc.Digest] = l
	return nil
}

// unpack returns the tar of a layer, or nil when it is to stay as it is.
func (c *conversion) unpack(ctx context.Context, desc ocispec.Descriptor) (*lazy.Spool, error) {
	blob, err := lazy.NewSpool(c.dir)
	if err != nil {
		return nil, c.explain(desc, err)
	}
	defer blob.Close()
	if err := c.transfer.one(ctx, desc, func(_ context.Context, _ ocispec.Descriptor, r io.Reader) error {
		_, err := blob.ReadFrom(r)
		return err
	}); err != nil {
		return nil, err
	}
	if c.format.Is(blob.Reader(), desc.Annotations) {
		return nil, nil
	}
	unpacked, err := lazy.NewSpool(c.dir)
	if err != nil {
		return nil, c.explain(desc, err)
	}
	head := make([]byte, 4)
	n, _ := blob.Reader().ReadAt(head, 0) // what is shorter is no layer, and that is found below
	if err := archive.UnpackTo(unpacked, &cancellable{ctx, blob.Reader()}, archive.LayerType(head[:n])); err != nil {
		return nil, errors.Join(c.explain(desc, err), unpacked.Close())
	}
	return unpacked, nil
}

// explain says which layer could not be converted, and gives the error a class
// when the layer is at fault.
func (c *conversion) explain(desc ocispec.Descriptor, err error) error {
	op := fmt.Sprintf("convert the layer %s of %s", desc.Digest, c.transfer.src.Name())
	var flaw *archive.FaultError
	if errors.As(err, &flaw) {
		return fail(image.NotImage, op, err, "make the image anew, or push it without converting it")
	}
	return fmt.Errorf("%s: %w", op, err)
}

// converted is the source of the image as it is after its conversion.
type converted struct {
	Source
	root      ocispec.Descriptor
	documents map[digest.Digest][]byte
	layers    map[digest.Digest]*lazy.Layer
	changed   map[digest.Digest]bool // by the digest now
}

func (c *conversion) source() Source {
	s := &converted{Source: c.transfer.src, root: c.transfer.src.Root(), documents: c.documents,
		layers: map[digest.Digest]*lazy.Layer{}, changed: map[digest.Digest]bool{}}
	for _, l := range c.layers {
		s.layers[l.Digest] = l
	}
	for _, now := range c.now {
		s.changed[now.Digest] = true
	}
	if now, ok := c.now[s.root.Digest]; ok {
		s.root = now
	}
	return s
}

func (s *converted) Root() ocispec.Descriptor { return s.root }

func (s *converted) Has(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	if s.documents[desc.Digest] != nil || s.layers[desc.Digest] != nil {
		return true, nil
	}
	return s.Source.Has(ctx, desc)
}

func (s *converted) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if data, ok := s.documents[desc.Digest]; ok {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	if l, ok := s.layers[desc.Digest]; ok {
		return io.NopCloser(l.Reader()), nil
	}
	return s.Source.Open(ctx, desc)
}

// Referrers are none for what is new.
func (s *converted) Referrers(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if s.changed[desc.Digest] {
		return nil, nil
	}
	return s.Source.Referrers(ctx, desc)
}

// tell adds what is to be said of the conversion to the result of the push.
func (c *conversion) tell(r *Result, first []string) {
	r.Missing, r.Left, r.Missed = c.missing, c.left, c.missed(first)
	if root := c.transfer.src.Root(); c.now[root.Digest].Digest != "" {
		r.ConvertedFrom = root
	}
}

// missed are the files to be laid first that no layer has, none when no layer
// was converted.
func (c *conversion) missed(first []string) []string {
	if len(c.layers) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(first), func(name string) bool {
		for _, l := range c.layers {
			if !slices.Contains(l.Missed, name) {
				return true
			}
		}
		return false
	})
}
