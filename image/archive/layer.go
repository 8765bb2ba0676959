package archive

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxWindow is how much memory unpacking zstd may take, in bytes.
const maxWindow = 128 << 20

// maxUnpacked is how many bytes a layer may unpack to, where it has to be
// unpacked to know its digest, and maxPacked how many it may have itself: there
// are packings of nothing.
const (
	maxUnpacked = 64 << 30
	maxPacked   = maxUnpacked + maxUnpacked/16
)

// UnpackedDigest returns the digest of the tar in a layer of the media type. The
// error is a FaultError where the layer is at fault and not r.
func UnpackedDigest(r io.Reader, mediaType string, of digest.Algorithm) (digest.Digest, error) {
	d := of.Digester()
	if err := UnpackTo(d.Hash(), r, mediaType); err != nil {
		return "", err
	}
	return d.Digest(), nil
}

// UnpackTo writes the tar that is in a layer of the media type to w. The error is
// a FaultError where the layer is at fault, and neither r nor w.
func UnpackTo(w io.Writer, r io.Reader, mediaType string) error {
	in, out := &watchedReader{r: r, left: maxPacked}, &watchedWriter{w: w}
	n, err := unpackTo(out, in, mediaType)
	switch {
	case in.err != nil:
		return in.err
	case out.err != nil:
		return out.err
	case err != nil:
		return fault("it can't be unpacked: %w", err)
	case n > maxUnpacked:
		return fault("it unpacks to more than %d bytes", int64(maxUnpacked))
	}
	return nil
}

func unpackTo(w io.Writer, r io.Reader, mediaType string) (int64, error) {
	body, err := Unpack(r, mediaType)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	return io.CopyBuffer(w, io.LimitReader(body, maxUnpacked+1), make([]byte, 256<<10))
}

// watchedReader and watchedWriter remember how they failed.
type watchedReader struct {
	r    io.Reader
	left int64 // bytes that may be read
	err  error // other than io.EOF
}

var errPacked = fmt.Errorf("it has more than %d bytes", int64(maxPacked))

func (w *watchedReader) Read(p []byte) (int, error) {
	if w.left <= 0 {
		return 0, errPacked
	}
	n, err := w.r.Read(p[:min(int64(len(p)), w.left)])
	w.left -= int64(n)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

type watchedWriter struct {
	w   io.Writer
	err error
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.err = err
	return n, err
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
