package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The directories of a registry that is one of files.
const (
	staticDir    = "v2"
	manifestsDir = "manifests"
	blobsDir     = "blobs"
)

// staticRepository is a repository of a registry made of files, such as the
// script of ipfs-container-registry makes: manifests/<tag or digest>,
// blobs/<digest> and tags/list below v2/<name>. OCI distribution spec,
// "Endpoints".
type staticRepository struct {
	source Source
	base   Path // of the repository
	listed []string
	index  []ocispec.Descriptor
}

func (l *staticRepository) name() string                { return "static registry" }
func (l *staticRepository) roots() []ocispec.Descriptor { return l.index }
func (l *staticRepository) tags() []string              { return l.listed }

// locate prefers where a registry has manifests, for what is one.
func (l *staticRepository) locate(desc ocispec.Descriptor) (location, error) {
	dir := blobsDir
	if IsManifest(desc.MediaType) {
		dir = manifestsDir
	}
	return file(l.base.Join(dir, desc.Digest.String())), nil
}

func (l *staticRepository) guess(dgst digest.Digest) []location {
	return []location{file(l.base.Join(blobsDir, dgst.String())), file(l.base.Join(manifestsDir, dgst.String()))}
}

func (l *staticRepository) find(ctx context.Context, tag string) (ocispec.Descriptor, location, error) {
	at := file(l.base.Join(manifestsDir, tag))
	desc, err := readTagged(ctx, l.source, at)
	return desc, at, err
}

// readTagged reads a manifest of which only the place is known. The error is
// NotFound when nothing is there.
func readTagged(ctx context.Context, source Source, at location) (ocispec.Descriptor, error) {
	data, err := readSmall(ctx, source, at)
	var other *NotFileError
	switch {
	case errors.As(err, &other):
		return ocispec.Descriptor{}, &Error{Class: NotFound, Op: "read the manifest at " + at.path.String(), Err: err}
	case err != nil && !errors.Is(err, errTooLarge):
		return ocispec.Descriptor{}, err
	}
	var desc ocispec.Descriptor
	if err == nil {
		desc, err = describeManifest(data)
	}
	if err != nil {
		return desc, &Error{Class: NotImage, Op: "read the manifest at " + at.path.String(), Err: err}
	}
	return desc, nil
}

// openStatic reads p as <root>/<repository> of a static registry. absent is the
// error of p itself, for when it is none.
func openStatic(ctx context.Context, source Source, p Path, absent error) (form, error) {
	root := Path{Root: p.Root}
	l := &staticRepository{source: source, base: root.Join(staticDir, p.Rest)}
	kind, manifests, err := kindOf(ctx, source, l.base.Join(manifestsDir))
	if err != nil {
		return nil, err
	}
	if kind != "directory" {
		return nil, absent
	}
	if l.listed, err = readTags(ctx, source, l.base); err != nil {
		return nil, err
	}
	if l.listed == nil {
		l.listed = slices.DeleteFunc(slices.Clone(manifests), func(name string) bool { return !IsTag(name) })
	}
	l.index, err = readNamed(ctx, source, root, p.Rest)
	return l, err
}

// readNamed reads what the index of an OCI image layout, where the registry is
// one besides, has of a repository: its images and what is attached to any.
func readNamed(ctx context.Context, source Source, root Path, repository string) ([]ocispec.Descriptor, error) {
	all, err := readLayout(root, "directory", func(name string) ([]byte, error) { return readSmall(ctx, source, file(root.Join(name))) })
	if ClassOf(err) == NotImage {
		return nil, nil
	}
	return slices.DeleteFunc(all, func(desc ocispec.Descriptor) bool {
		name := desc.Annotations[ocispec.AnnotationRefName]
		return name != "" && !strings.HasPrefix(name, repository+":") || name == "" && !isAttachment(desc)
	}), err
}

// readTags reads the tags/list of a repository, where it has one that can be
// read: whether a tag is there is decided by its manifest.
func readTags(ctx context.Context, source Source, base Path) ([]string, error) {
	data, err := readSmall(ctx, source, file(base.Join("tags", "list")))
	var other *NotFileError
	switch {
	case ClassOf(err) == NotFound || errors.As(err, &other) || errors.Is(err, errTooLarge):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the tags of %s: %w", base, err)
	}
	var list struct{ Tags []string }
	if err := json.Unmarshal(data, &list); err != nil || len(list.Tags) > MaxDescriptors {
		return nil, nil //nolint:nilerr // the script of ipfs-container-registry writes no JSON there
	}
	return slices.DeleteFunc(list.Tags, func(tag string) bool { return !IsTag(tag) }), nil
}
