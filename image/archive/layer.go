package archive

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxWindow is how much memory unpacking zstd may take, in bytes.
const maxWindow = 128 << 20

// maxUnpacked is how many bytes a layer may unpack to, where it has to be
// unpacked to know its digest.
const maxUnpacked = 64 << 30

// UnpackedDigest returns the digest of the tar in a layer of the media type. The
// error is a FaultError where the layer is at fault and not r.
func UnpackedDigest(r io.Reader, mediaType string, of digest.Algorithm) (digest.Digest, error) {
	body, err := Unpack(r, mediaType)
	if err != nil {
		return "", broken(err)
	}
	defer body.Close()
	d := of.Digester()
	n, err := io.Copy(d.Hash(), io.LimitReader(body, maxUnpacked+1))
	if err != nil {
		return "", broken(err)
	}
	if n > maxUnpacked {
		return "", fault("it unpacks to more than %d bytes", int64(maxUnpacked))
	}
	return d.Digest(), nil
}

// broken tells a stream that can't be unpacked from one that can't be read.
func broken(err error) error {
	var flaw flate.CorruptInputError
	if errors.As(err, &flaw) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || err == io.EOF || err == io.ErrUnexpectedEOF {
		return fault("it can't be unpacked: %w", err)
	}
	return err
}

// LayerType is the media type of a layer that begins with head.
func LayerType(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return ocispec.MediaTypeImageLayerGzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return ocispec.MediaTypeImageLayerZstd
	default:
		return ocispec.MediaTypeImageLayer
	}
}

// Unpack returns the tar that is in a layer of the media type. The caller
// closes it, and r.
func Unpack(r io.Reader, mediaType string) (io.ReadCloser, error) {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		return gzip.NewReader(r)
	case strings.HasSuffix(mediaType, "+zstd"):
		d, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	default:
		return io.NopCloser(r), nil
	}
}
