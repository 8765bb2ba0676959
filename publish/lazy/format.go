package lazy

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/containerd/stargz-snapshotter/estargz/zstdchunked"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Format is a kind of layer that can be read lazily.
type Format string

// The formats.
const (
	// EStargz is gzip with a table of contents, which any runtime can unpack.
	EStargz Format = "estargz"
	// ZstdChunked is the same with zstd. Runtimes that know zstd can unpack it.
	ZstdChunked Format = "zstd:chunked"
)

// MediaType is that of layers of the format.
func (f Format) MediaType() string {
	if f == ZstdChunked {
		return ocispec.MediaTypeImageLayerZstd
	}
	return ocispec.MediaTypeImageLayerGzip
}

// gzipLevel makes blobs that are 2 % larger than those of the highest level and
// takes a tenth of the time.
const gzipLevel = gzip.DefaultCompression

// gzipper is estargz's own compressor with a faster gzip. Every file of a layer
// is a stream of its own, so the writers are kept for the next one.
type gzipper struct {
	*estargz.GzipCompressor
	idle sync.Pool
}

// Writer implements estargz.Compressor.
func (g *gzipper) Writer(w io.Writer) (estargz.WriteFlushCloser, error) {
	if z, ok := g.idle.Get().(*gzip.Writer); ok {
		z.Reset(w)
		return &gzipStream{z, g}, nil
	}
	z, err := gzip.NewWriterLevel(w, gzipLevel)
	return &gzipStream{z, g}, err
}

type gzipStream struct {
	*gzip.Writer
	of *gzipper
}

func (s *gzipStream) Close() error {
	err := s.Writer.Close()
	s.of.idle.Put(s.Writer)
	return err
}

// compressor makes the streams and the table of contents of a layer. What there
// is to say of the table is in told when it is written.
func (f Format) compressor(told map[string]string) estargz.Compressor {
	if f == ZstdChunked {
		return &zstdchunked.Compressor{CompressionLevel: zstd.SpeedDefault, Metadata: told}
	}
	return &gzipper{GzipCompressor: estargz.NewGzipCompressor()}
}

// What podman calls ManifestPositionAnnotation and ManifestChecksumAnnotation
// since its version 4.4; before, it called them as the library does.
const (
	podmanPosition = "io.github.containers.zstd-chunked.manifest-position"
	podmanChecksum = "io.github.containers.zstd-chunked.manifest-checksum"
)

// tell adds to the annotations of a layer what all podmans understand.
func (f Format) tell(told map[string]string) {
	if f == ZstdChunked {
		told[podmanPosition] = told[zstdchunked.ManifestPositionAnnotation]
		told[podmanChecksum] = told[zstdchunked.ManifestChecksumAnnotation]
	}
}

// annotationKeys are those by which a descriptor says how a layer is packed:
// they are wrong once it is packed anew.
func annotationKeys() []string {
	return []string{
		estargz.TOCJSONDigestAnnotation, estargz.StoreUncompressedSizeAnnotation,
		zstdchunked.ManifestChecksumAnnotation, zstdchunked.ManifestPositionAnnotation,
		podmanChecksum, podmanPosition,
		"io.github.containers.zstd-chunked.tarsplit-position", "containerd.io/uncompressed", image.AnnotationReadFirst,
	}
}

// maxTOC is the size in bytes of a packed table of contents that is looked at.
const maxTOC = 256 << 20

// Is reports whether a layer is of the format already, by what its descriptor
// says of the table of contents: that is there and has its digest.
func (f Format) Is(layer *io.SectionReader, annotations map[string]string) bool {
	if f == EStargz {
		return isEStargz(layer, annotations[estargz.TOCJSONDigestAnnotation])
	}
	for _, by := range []string{zstdchunked.ManifestPositionAnnotation, podmanPosition} {
		sum := strings.TrimSuffix(by, "position") + "checksum"
		if isChunked(layer, annotations[by], annotations[sum]) {
			return true
		}
	}
	return false
}

func isEStargz(layer *io.SectionReader, want string) bool {
	d := &estargz.GzipDecompressor{}
	end := layer.Size() - d.FooterSize()
	if want == "" || end < 0 {
		return false
	}
	footer := make([]byte, d.FooterSize())
	if _, err := layer.ReadAt(footer, end); err != nil {
		return false
	}
	_, at, _, err := d.ParseFooter(footer)
	if err != nil || at < 0 || at > end || end-at > maxTOC {
		return false
	}
	_, dgst, err := d.ParseTOC(io.NewSectionReader(layer, at, end-at))
	return err == nil && dgst.String() == want
}

// isChunked reports whether the bytes at a position, OFFSET:SIZE:…, have the
// digest want.
func isChunked(layer *io.SectionReader, position, want string) bool {
	var at, size int64
	if n, err := fmt.Sscanf(position, "%d:%d:", &at, &size); n != 2 || err != nil {
		return false
	}
	if at < 0 || size < 0 || size > maxTOC || at > layer.Size()-size {
		return false
	}
	dgst, err := digest.FromReader(io.NewSectionReader(layer, at, size))
	return err == nil && dgst.String() == want
}
