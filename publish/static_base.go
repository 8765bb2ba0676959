package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// keep adds the images that a static registry has already, but for those of a
// name that is taken. No blob of them is read.
func (s *shelf) keep(ctx context.Context, base *Base) error {
	where := image.Path{Root: base.Root}
	l := &layoutSource{identity: identity{name: where.String()}, files: stored{ctx, base.Source, where},
		referrers: map[digest.Digest][]ocispec.Descriptor{}}
	if err := l.load(); err != nil {
		return err
	}
	held := newSurvey(newTransfer(l, s.transfer.progress), nil, true)
	s.read = append(s.read, held)
	var attached []ocispec.Descriptor
	for _, desc := range l.index {
		repository, tag, err := splitName(refName(desc))
		if name := refName(desc); name != "" && (err != nil || !strings.Contains(name, ":")) {
			return fail(image.NotImage, "add to "+where.String(), err, "name a registry that \"push --format static\" made")
		}
		if refName(desc) == "" {
			attached = append(attached, desc)
			continue
		}
		if r := s.repositories[repository]; r != nil && r.tags[tag] != "" {
			continue // the new one takes its place
		}
		if err := s.keepOne(ctx, held, repository, desc, tag); err != nil {
			return err
		}
	}
	if err := s.keepAttached(ctx, held, attached); err != nil {
		return err
	}
	return s.locate(ctx, held, base)
}

func (s *shelf) keepOne(ctx context.Context, held *survey, repository string, desc ocispec.Descriptor, tag string) error {
	if err := held.note(desc); err != nil {
		return err
	}
	if err := held.walk(ctx, desc, 0); err != nil {
		return err
	}
	s.put(repository, desc, tag)
	return nil
}

// keepAttached adds what has no name of its own wherever that is which it is
// about, and what is about that in turn.
func (s *shelf) keepAttached(ctx context.Context, held *survey, attached []ocispec.Descriptor) error {
	for range attached {
		for _, desc := range attached {
			m, err := held.document(ctx, desc)
			if err != nil {
				return err
			}
			if m.document.Subject == nil {
				return fail(image.NotImage, "add to "+held.transfer.src.Name(), fmt.Errorf("its image %s has no name", desc.Digest), "name a registry that \"push --format static\" made")
			}
			for name := range s.repositories {
				if !s.has(name, m.document.Subject.Digest) || s.has(name, desc.Digest) {
					continue
				}
				if err := s.keepOne(ctx, held, name, desc, ""); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// locate finds the CIDs of what is held.
func (s *shelf) locate(ctx context.Context, held *survey, base *Base) error {
	all := append([]ocispec.Descriptor{}, held.blobs...)
	for _, m := range held.manifests {
		all = append(all, m.desc)
	}
	for _, desc := range all {
		if _, ok := s.cids[desc.Digest]; ok {
			continue
		}
		c, err := cidOf(ctx, base, desc)
		if err != nil {
			return err
		}
		s.cids[desc.Digest] = c
	}
	return nil
}

func cidOf(ctx context.Context, base *Base, desc ocispec.Descriptor) (cid.Cid, error) {
	f, err := base.Source.Open(ctx, image.Path{Root: base.Root, Rest: blobPath(desc.Digest)})
	if err != nil {
		return cid.Undef, err
	}
	defer f.Close()
	if f.Size() != desc.Size {
		return cid.Undef, fail(image.Corrupt, fmt.Sprintf("read %s of /ipfs/%s", desc.Digest, base.Root),
			fmt.Errorf("it has %d bytes and its descriptor says %d", f.Size(), desc.Size), "")
	}
	return f.CID(), nil
}

// stored are the files of a directory on IPFS.
type stored struct {
	ctx    context.Context
	source image.Source
	root   image.Path
}

func (s stored) open(name string) (io.ReadCloser, int64, error) {
	f, err := s.source.Open(s.ctx, s.root.Join(strings.Split(name, "/")...))
	var other *image.NotFileError
	switch {
	case image.ClassOf(err) == image.NotFound || errors.As(err, &other):
		return nil, 0, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case err != nil:
		return nil, 0, err
	}
	return f, f.Size(), nil
}

func (s stored) Close() error { return nil }
