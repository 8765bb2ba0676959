package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// layoutSource is an image in an OCI image layout.
type layoutSource struct {
	identity
	files files
	index []ocispec.Descriptor
	// referrers are the entries of the index by the digest of their subject.
	referrers map[digest.Digest][]ocispec.Descriptor
}

func openLayoutDir(where location) (Source, error) {
	return openLayout(where, directory(where.path))
}

func openLayoutArchive(where location) (Source, error) {
	a, err := openArchive(where.path)
	if err != nil {
		return nil, archiveError(where, err)
	}
	return openLayout(where, a)
}

// openLayout takes over f.
func openLayout(where location, f files) (Source, error) {
	s := &layoutSource{identity: identity{name: where.text}, files: f, referrers: map[digest.Digest][]ocispec.Descriptor{}}
	err := s.load()
	if err == nil {
		err = s.find(where)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// load reads what the layout says of itself.
func (s *layoutSource) load() error {
	var marker ocispec.ImageLayout
	if err := s.readJSON(ocispec.ImageLayoutFile, &marker); err != nil {
		return err
	}
	if marker.Version != ocispec.ImageLayoutVersion {
		return s.noLayout(fmt.Errorf("its oci-layout has the version %s and not %q", quote(marker.Version), ocispec.ImageLayoutVersion))
	}
	var index ocispec.Index
	if err := s.readJSON(ocispec.ImageIndexFile, &index); err != nil {
		return err
	}
	if len(index.Manifests) > image.MaxDescriptors {
		return s.noLayout(fmt.Errorf("its index.json has more than %d entries", image.MaxDescriptors))
	}
	for _, desc := range index.Manifests {
		if err := checkDescriptor(desc); err != nil {
			return s.noLayout(fmt.Errorf("of its index.json: %w", err))
		}
	}
	s.index = index.Manifests
	return s.loadReferrers()
}

// loadReferrers reads the subjects of the index's entries, where there is more
// than the image itself.
func (s *layoutSource) loadReferrers() error {
	if len(s.index) < 2 {
		return nil
	}
	for _, desc := range s.index {
		subject, err := s.subject(desc)
		if err != nil {
			return err
		}
		if subject != "" {
			s.referrers[subject] = append(s.referrers[subject], desc)
		}
	}
	return nil
}

// subject returns the digest of the subject that a manifest has. What it can't
// read it takes for a manifest without: whoever needs it will find out.
func (s *layoutSource) subject(desc ocispec.Descriptor) (digest.Digest, error) {
	if !image.IsManifest(desc.MediaType) || desc.Size > image.MaxManifest {
		return "", nil
	}
	data, err := readFile(s.files, blobPath(desc.Digest))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errTooLarge) {
		return "", nil
	}
	if err != nil {
		return "", classed("read "+s.name, err)
	}
	d, err := parseDocument(data, desc)
	if err != nil || d.Subject == nil || desc.Digest.Algorithm().FromBytes(data) != desc.Digest {
		return "", nil //nolint:nilerr // what is no manifest refers to nothing
	}
	return d.Subject.Digest, nil
}

// find chooses the image that where asks for.
func (s *layoutSource) find(where location) error {
	desc, err := s.choose(where.ref)
	if err != nil {
		return notFound("find "+where.text, err, "name one of them after a colon")
	}
	s.root, s.tag = desc, refName(desc)
	if s.tag == where.ref || where.ref == "" {
		return nil
	}
	if named, err := normalize(where.ref); err == nil && desc.Digest.String() != where.ref {
		s.tag = tagOf(named)
	}
	return nil
}

// choose returns the entry that ref, a tag, a whole name or a digest, means; no
// ref means the only image.
func (s *layoutSource) choose(ref string) (ocispec.Descriptor, error) {
	var candidates []ocispec.Descriptor
	for _, desc := range s.index {
		if ref == "" && !s.isReferrer(desc) && !isAttachment(desc) || ref != "" && answersTo(desc, ref) {
			candidates = append(candidates, desc)
		}
	}
	if len(candidates) == 0 {
		return ocispec.Descriptor{}, fmt.Errorf("it has the images %q", s.names())
	}
	first := candidates[0]
	for _, other := range candidates[1:] {
		if other.Digest != first.Digest {
			return ocispec.Descriptor{}, fmt.Errorf("several are meant; it has the images %q", s.names())
		}
		if refName(other) != refName(first) {
			first.Annotations = nil // one image of several tags has none of its own
		}
	}
	return first, nil
}

func (s *layoutSource) isReferrer(desc ocispec.Descriptor) bool {
	for _, list := range s.referrers {
		if slices.ContainsFunc(list, func(r ocispec.Descriptor) bool { return r.Digest == desc.Digest }) {
			return true
		}
	}
	return false
}

func (s *layoutSource) names() []string {
	var names []string
	for _, desc := range s.index[:min(len(s.index), 20)] {
		if name := refName(desc); name != "" {
			names = append(names, name)
		} else {
			names = append(names, desc.Digest.String())
		}
	}
	return names
}

// annotationName is the whole name that containerd and Docker give an entry.
const annotationName = "io.containerd.image.name"

// answersTo reports whether ref means an entry of an index.
func answersTo(desc ocispec.Descriptor, ref string) bool {
	if ref == refName(desc) || ref == desc.Digest.String() || ref == desc.Annotations[annotationName] {
		return true
	}
	named, err := normalize(ref)
	return err == nil && named.String() == desc.Annotations[annotationName]
}

// Has looks.
func (s *layoutSource) Has(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	if err := checkDescriptor(desc); err != nil {
		return false, nil //nolint:nilerr // what no digest names nobody has
	}
	return exists(s.files, blobPath(desc.Digest), s.name)
}

func (s *layoutSource) Open(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return openBlob(s.files, blobPath(desc.Digest), desc, s.name)
}

func (s *layoutSource) Referrers(_ context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	var found []ocispec.Descriptor
	for _, referrer := range s.referrers[desc.Digest] {
		referrer.Annotations = nil
		found = append(found, referrer)
	}
	for _, entry := range s.index {
		if image.AttachedTo(refName(entry)) == desc.Digest {
			found = append(found, entry)
		}
	}
	return found, nil
}

func (s *layoutSource) Close() error { return s.files.Close() }

// readJSON reads one of the files that make a layout.
func (s *layoutSource) readJSON(name string, v any) error {
	data, err := readFile(s.files, name)
	if errors.Is(err, fs.ErrNotExist) {
		return s.noLayout(fmt.Errorf("it has no file %s", name))
	}
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return s.noLayout(fmt.Errorf("of its %s: %w", name, err))
	}
	return nil
}

func (s *layoutSource) noLayout(why error) error {
	return fail(image.NotImage, "read "+s.name, why, "name an OCI image layout")
}
