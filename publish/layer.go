package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/archive"
)

// PushLayer moves one layer, a tar file that may be compressed with gzip or
// zstd, into the sink, with the layer manifest that ocipfs reads as its root. It
// returns when the sink has made both durable. Of the options it heeds Chunker,
// Name and Progress. Result describes the layer; its Tag is the file's name. The
// errors are of the classes of [image.Error]: NotFound when the file is not
// there, NotImage when it is no layer.
func PushLayer(ctx context.Context, file string, sink Sink, o PushOptions) (Result, error) {
	if o.Chunker == "" {
		o.Chunker = UnixFSv1
	}
	if o.Name == "" {
		o.Name = "layer:" + file
	}
	if o.Progress == nil {
		o.Progress = nobody{}
	}
	op := "push the layer " + quote(file)
	f, err := openLayerFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return Result{}, notFound(op, err, "check the path")
	}
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", op, err)
	}
	defer f.Close()
	desc, diffID, err := describeLayer(ctx, f)
	if err != nil && ctx.Err() == nil {
		return Result{}, fail(image.NotImage, op, err, "name a tar file, which may be compressed with gzip or zstd")
	}
	if err != nil {
		return Result{}, err
	}
	l := &layer{sink: sink, o: o, name: filepath.Base(file), desc: desc}
	return l.push(ctx, f, diffID)
}

func openLayerFile(name string) (*os.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	return os.Open(name)
}

// describeLayer reads f to its end and describes it, and the tar that is in it.
func describeLayer(ctx context.Context, f io.ReadSeeker) (desc ocispec.Descriptor, diffID digest.Digest, err error) {
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return desc, "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return desc, "", err
	}
	desc.MediaType = archive.LayerType(head[:n])
	packed := digest.Canonical.Digester()
	in := &counted{r: io.TeeReader(&cancellable{ctx, f}, packed.Hash())}
	body, err := archive.Unpack(in, desc.MediaType)
	if err != nil {
		return desc, "", err
	}
	defer body.Close()
	if diffID, err = tarDigest(body); err != nil {
		return desc, "", err
	}
	if _, err := io.Copy(io.Discard, in); err != nil { // what follows the compressed part
		return desc, "", err
	}
	desc.Digest, desc.Size = packed.Digest(), in.n
	_, err = f.Seek(0, io.SeekStart)
	return desc, diffID, err
}

// tarDigest returns the digest of r, which has to begin as a tar does.
func tarDigest(r io.Reader) (digest.Digest, error) {
	head := make([]byte, 512)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", err
	}
	if n < len(head) || string(head[257:262]) != "ustar" && !bytes.Equal(head, make([]byte, len(head))) {
		return "", errors.New("it is no tar file")
	}
	d := digest.Canonical.Digester()
	_, err = io.Copy(d.Hash(), io.MultiReader(bytes.NewReader(head), r))
	return d.Digest(), err
}

// counted counts the bytes that are read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// layer is a layer on its way into a sink.
type layer struct {
	sink Sink
	o    PushOptions
	name string
	desc ocispec.Descriptor
}

// push adds the layer, in a directory that has its name, and its manifest.
func (l *layer) push(ctx context.Context, r io.Reader, diffID digest.Digest) (Result, error) {
	l.o.Progress.Start(l.desc)
	v := newVerified(ctx, r, l.desc, l.name, func(n int64) { l.o.Progress.Advance(l.desc, n) })
	c, err := l.sink.AddFile(ctx, v, l.o.Chunker)
	if v.err != nil && v.err != io.EOF {
		return Result{}, v.err
	}
	if err != nil {
		return Result{}, fmt.Errorf("store the layer %s: %w", l.name, err)
	}
	l.o.Progress.Done(l.desc)
	dir, err := l.sink.AddDir(ctx, map[string]cid.Cid{l.name: c}, l.o.Chunker)
	if err != nil {
		return Result{}, fmt.Errorf("store the directory of %s: %w", l.name, err)
	}
	root, err := l.manifest(ctx, dir, diffID)
	if err != nil {
		return Result{}, fmt.Errorf("store the layer manifest of %s: %w", l.name, err)
	}
	if err := l.sink.Publish(ctx, l.o.Name, root, []cid.Cid{dir}); err != nil {
		return Result{}, fmt.Errorf("publish %s as %s: %w", l.name, root, err)
	}
	result := Result{Root: root, Descriptor: l.desc, Size: l.desc.Size, Blobs: 1}
	if image.IsTag(l.name) {
		result.Tag = l.name
	}
	return result, nil
}

func (l *layer) manifest(ctx context.Context, dir cid.Cid, diffID digest.Digest) (cid.Cid, error) {
	m := image.LayerManifest{MediaType: image.MediaTypeLayer, Layer: l.desc}
	m.Layer.Annotations = map[string]string{
		image.AnnotationLayerCID:    dir.String() + "/" + l.name,
		image.AnnotationLayerDiffID: diffID.String(),
	}
	data, err := json.Marshal(m)
	if err != nil {
		return cid.Undef, err
	}
	return l.sink.AddFile(ctx, bytes.NewReader(data), l.o.Chunker)
}
