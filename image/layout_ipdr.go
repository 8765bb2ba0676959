package image

import (
	"context"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ipdrDirectory is what IPDR makes: one repository of a registry, without a
// name. manifests/latest is for clients that read schema 1 and
// manifests/latest-v2 for all others.
type ipdrDirectory struct {
	files *staticRepository
	index []ocispec.Descriptor
	// places are those of the manifests that have a tag for a name.
	places map[digest.Digest]location
}

// suffixV2 is what IPDR adds to the tag of a manifest of schema 2.
const suffixV2 = "-v2"

func (l *ipdrDirectory) name() string                        { return "IPDR directory" }
func (l *ipdrDirectory) roots() []ocispec.Descriptor         { return l.index }
func (l *ipdrDirectory) guess(dgst digest.Digest) []location { return l.files.guess(dgst) }

func (l *ipdrDirectory) locate(desc ocispec.Descriptor) (location, error) {
	if at, ok := l.places[desc.Digest]; ok {
		return at, nil
	}
	return l.files.locate(desc)
}

// openIPDR reads the tagged manifests of the directory p. names are the first ten
// of its manifests, which is all that IPDR ever writes.
func openIPDR(ctx context.Context, source Source, p Path, names []string) (form, error) {
	l := &ipdrDirectory{files: &staticRepository{source: source, base: p}, places: map[digest.Digest]location{}}
	var refused error
	for _, name := range slices.Compact(slices.Sorted(slices.Values(append([]string{"latest", "latest" + suffixV2}, names...)))) {
		if !IsTag(name) {
			continue
		}
		err := l.add(ctx, name)
		switch ClassOf(err) {
		case NotFound:
		case NotImage:
			refused = err
		default:
			if err != nil {
				return nil, err
			}
		}
	}
	if len(l.index) == 0 && refused != nil {
		return nil, refused
	}
	return l, nil
}

// add reads the manifest of that name.
func (l *ipdrDirectory) add(ctx context.Context, name string) error {
	desc, at, err := l.files.find(ctx, name)
	if err != nil {
		return err
	}
	tag, _ := strings.CutSuffix(name, suffixV2)
	desc.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	l.places[desc.Digest] = at
	// The manifest of schema 2 is the one meant, whatever the other is.
	l.index = slices.DeleteFunc(l.index, func(d ocispec.Descriptor) bool { return tagOf(d) == tag && tag != name })
	l.index = append(l.index, desc)
	return nil
}
