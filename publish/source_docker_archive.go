package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/archive"
)

// dockerSource is an image of an archive that "docker save" made. The OCI
// manifest it has here is made of Docker's config, unchanged, and the layers as
// they lie in the archive, so that the same image has the same digests always.
type dockerSource struct {
	identity
	files files
	made  *archive.Described
}

func openDockerArchive(ctx context.Context, where location) (Source, error) {
	a, err := openArchive(where.path)
	if err != nil {
		return nil, archiveError(where, err)
	}
	return openDocker(ctx, where, a)
}

// openDocker takes over a. An archive of Docker 25 or later is an OCI layout
// besides, which knows the digests that the image has elsewhere.
func openDocker(ctx context.Context, where location, a *tarSource) (Source, error) {
	if ok, _ := exists(a, ocispec.ImageIndexFile, where.text); ok {
		return openLayout(where, a)
	}
	s := &dockerSource{identity: identity{name: where.text}, files: a}
	if err := s.load(ctx, where); err != nil {
		if ctx.Err() == nil && image.ClassOf(err) == 0 {
			err = fail(image.NotImage, "read "+where.text, err, "name an archive that \"docker save\" made")
		}
		return nil, errors.Join(err, a.Close())
	}
	return s, nil
}

// load makes the manifest.
func (s *dockerSource) load(ctx context.Context, where location) error {
	data, err := readFile(s.files, archive.DockerManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("it has neither manifest.json nor index.json")
	}
	if err != nil {
		return err
	}
	all, err := archive.ParseDocker(data)
	if err != nil {
		return err
	}
	im, tag, err := chooseDockerImage(all, where.ref)
	if err != nil {
		return notFound("find "+where.text, err, "name one of them after a colon")
	}
	s.tag = tag
	return s.describe(ctx, im)
}

// chooseDockerImage returns the image that ref means, by a whole name or by a
// tag, and its tag.
func chooseDockerImage(all []archive.DockerImage, ref string) (archive.DockerImage, string, error) {
	var found []archive.DockerImage
	var names, tags []string
	for _, im := range all {
		names = append(names, im.RepoTags...)
		if ref == "" {
			found, tags = append(found, im), append(tags, onlyTag(im.RepoTags))
		} else if tag, ok := matchDocker(im.RepoTags, ref); ok {
			found, tags = append(found, im), append(tags, tag)
		}
	}
	if len(found) != 1 {
		return archive.DockerImage{}, "", fmt.Errorf("%d of its images are meant; it has %q", len(found), names[:min(len(names), 20)])
	}
	return found[0], tags[0], nil
}

// onlyTag is the tag of an image of one name.
func onlyTag(repoTags []string) string {
	if len(repoTags) != 1 {
		return ""
	}
	named, err := normalize(repoTags[0])
	if err != nil {
		return ""
	}
	return tagOf(named)
}

func matchDocker(repoTags []string, ref string) (tag string, ok bool) {
	want, wantErr := normalize(ref)
	i := slices.IndexFunc(repoTags, func(name string) bool {
		named, err := normalize(name)
		return err == nil && (tagOf(named) == ref || wantErr == nil && named.String() == want.String())
	})
	if i < 0 {
		return "", false
	}
	return onlyTag(repoTags[i : i+1]), true
}

// describe makes the manifest.
func (s *dockerSource) describe(ctx context.Context, im archive.DockerImage) error {
	made, err := im.Describe(func(name string) (io.ReadCloser, int64, error) {
		rc, size, err := s.files.open(name)
		if err != nil {
			return nil, 0, err
		}
		return io.NopCloser(&cancellable{ctx, rc}), size, nil // what files opens is a section of s.files
	})
	if errors.Is(err, archive.ErrCorrupt) {
		return fail(image.Corrupt, "read "+s.name, err, "save the image anew")
	}
	if err != nil {
		return err
	}
	s.made, s.root = made, made.Root
	return nil
}

// cancellable ends with its context.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Has looks.
func (s *dockerSource) Has(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	_, ok := s.made.Names[desc.Digest]
	return ok || desc.Digest == s.root.Digest, nil
}

func (s *dockerSource) Open(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if desc.Digest == s.root.Digest {
		return io.NopCloser(bytes.NewReader(s.made.Manifest)), nil
	}
	name, ok := s.made.Names[desc.Digest]
	if !ok {
		return nil, notFound("read "+desc.Digest.String()+" of "+s.name, fs.ErrNotExist, "save the image anew")
	}
	return openBlob(s.files, name, desc, s.name)
}

// Referrers are none: an archive of Docker's own form has no place for them.
func (s *dockerSource) Referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return nil, nil
}

func (s *dockerSource) Close() error { return s.files.Close() }
