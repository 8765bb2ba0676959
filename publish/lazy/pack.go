package lazy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"strconv"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Packer packs tars. It may be used by several goroutines at once.
type Packer struct {
	format     Format
	compressor estargz.Compressor
	dir        string
	first      []string
	cores      chan struct{}
}

// NewPacker returns a Packer that spools on the disk of dir and keeps as many
// cores busy with all its layers together. It lays the files of first where a
// snapshotter fetches them before the container starts.
func NewPacker(format Format, dir string, first []string, cores int) *Packer {
	return &Packer{format: format, compressor: format.compressor(nil), dir: dir, first: first, cores: make(chan struct{}, max(cores, 1))}
}

// Layer is a packed layer.
type Layer struct {
	*Spool
	Digest digest.Digest
	// DiffID is the digest of the tar as it is now.
	DiffID digest.Digest
	// Missed are the files to be laid first that the layer does not have.
	Missed []string

	mediaType string
	told      map[string]string // annotations
}

// Describe returns what becomes of the descriptor that the layer had before.
func (l *Layer) Describe(before ocispec.Descriptor) ocispec.Descriptor {
	now := ocispec.Descriptor{MediaType: l.mediaType, Digest: l.Digest, Size: l.Size(), Annotations: map[string]string{}}
	maps.Copy(now.Annotations, before.Annotations)
	for _, key := range annotationKeys() {
		delete(now.Annotations, key)
	}
	maps.Copy(now.Annotations, l.told)
	return now
}

// Pack packs a tar. The error is an archive.FaultError when it is none, or one
// that can't be read lazily. The caller closes the Layer, and the tar.
func (p *Packer) Pack(ctx context.Context, unpacked *Spool) (*Layer, error) {
	if err := unpacked.pad(); err != nil {
		return nil, err
	}
	all, err := scan(unpacked.Reader())
	if err != nil {
		return nil, err
	}
	first, rest, missed := prioritize(all, p.first)
	s, err := newSequence(unpacked.Reader(), first, rest)
	if err != nil {
		return nil, err
	}
	if p.format == ZstdChunked {
		s.end()
	}
	spool, err := NewSpool(p.dir)
	if err != nil {
		return nil, err
	}
	l := &Layer{Spool: spool, Missed: missed, mediaType: p.format.MediaType(), told: map[string]string{}}
	if err := p.fill(ctx, l, s); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// fill makes the parts, the table of contents and the footer of l.
func (p *Packer) fill(ctx context.Context, l *Layer, s *sequence) error {
	unpacked, packed := &sum{Hash: sha256.New()}, &sum{Hash: sha256.New()}
	toc := &estargz.JTOC{Version: 1}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return unpacked.read(groupCtx, s.whole()) })
	group.Go(func() error { return p.parts(groupCtx, s.parts(), l.Spool, toc) })
	if err := group.Wait(); err != nil {
		return err
	}
	var inTar hash.Hash // where the table is in the tar
	if p.format == EStargz {
		inTar = unpacked
	}
	body := l.Size()
	tocDigest, err := p.format.compressor(l.told).WriteTOCAndFooter(l.Spool, l.Size(), toc, inTar)
	if err != nil {
		return fmt.Errorf("write the table of contents: %w", err)
	}
	if err := packed.read(ctx, l.Reader()); err != nil {
		return err
	}
	p.format.tell(l.told)
	l.told[image.AnnotationReadFirst] = readFirst(toc, body, l.Size())
	l.told[estargz.TOCJSONDigestAnnotation] = tocDigest.String()
	l.told[estargz.StoreUncompressedSizeAnnotation] = strconv.FormatInt(unpacked.n, 10)
	l.Digest, l.DiffID = packed.digest(), unpacked.digest()
	return nil
}

// readFirst are the sections that a snapshotter reads before a container starts:
// the table of contents between body and the end, and what lies before the
// landmark.
func readFirst(toc *estargz.JTOC, body, end int64) string {
	sections := fmt.Sprintf("%d:%d", body, end-body)
	for _, e := range toc.Entries {
		if e.Name == estargz.PrefetchLandmark && e.Offset > 0 {
			sections += fmt.Sprintf(",0:%d", e.Offset)
		}
	}
	return sections
}

// parts packs all side by side and appends them to a spool in their order. Those
// that wait for their turn wait on the disk, and are not many.
func (p *Packer) parts(ctx context.Context, all []io.Reader, to *Spool, toc *estargz.JTOC) error {
	group, ctx := errgroup.WithContext(ctx)
	waiting, packed := make(chan struct{}, 4*cap(p.cores)), make([]chan *part, len(all))
	for i := range all {
		packed[i] = make(chan *part, 1)
	}
	group.Go(func() error {
		for i, r := range all {
			if err := take(ctx, waiting); err != nil {
				return err
			}
			group.Go(func() error { return p.part(ctx, r, packed[i]) })
		}
		return nil
	})
	group.Go(func() error {
		for _, next := range packed {
			select {
			case part := <-next:
				if err := part.appendTo(to, toc); err != nil {
					return err
				}
				<-waiting
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	err := group.Wait()
	for _, left := range packed { // when something failed
		select {
		case part := <-left:
			err = errors.Join(err, part.Close())
		default:
		}
	}
	return err
}

// take takes a place in slots.
func take(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// part packs one part when a core is free.
func (p *Packer) part(ctx context.Context, r io.Reader, packed chan<- *part) error {
	if err := take(ctx, p.cores); err != nil {
		return err
	}
	defer func() { <-p.cores }()
	spool, err := NewSpool(p.dir)
	if err != nil {
		return err
	}
	made := &part{Compressor: p.compressor, Spool: spool}
	w := estargz.NewWriterWithCompressor(spool, made)
	err = w.AppendTarLossLess(&bounded{ctx, r})
	if err == nil {
		_, err = w.Close()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("pack a part: %w", err), spool.Close())
	}
	packed <- made
	return nil
}

// part is a part of a layer that has been packed.
type part struct {
	estargz.Compressor
	*Spool
	toc *estargz.JTOC
}

// WriteTOCAndFooter keeps the table, which is written for all parts at once.
func (p *part) WriteTOCAndFooter(_ io.Writer, _ int64, toc *estargz.JTOC, _ hash.Hash) (digest.Digest, error) {
	p.toc = toc
	return "", nil
}

// appendTo moves the part to the end of a layer, and its entries to that of the
// table.
func (p *part) appendTo(to *Spool, toc *estargz.JTOC) error {
	for _, e := range p.toc.Entries {
		if e.Type == "reg" && e.Size > 0 || e.Type == "chunk" {
			e.Offset += to.Size()
		}
	}
	toc.Entries = append(toc.Entries, p.toc.Entries...)
	return to.appendSpool(p.Spool)
}

// sum is the digest and number of bytes.
type sum struct {
	hash.Hash
	n int64
}

func (s *sum) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	return s.Hash.Write(p)
}

func (s *sum) read(ctx context.Context, r io.Reader) error {
	_, err := io.CopyBuffer(s, &bounded{ctx, r}, make([]byte, 256<<10))
	return err
}

func (s *sum) digest() digest.Digest { return digest.NewDigest(digest.Canonical, s.Hash) }

// bounded ends with its context.
type bounded struct {
	ctx context.Context
	r   io.Reader
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.r.Read(p)
}
