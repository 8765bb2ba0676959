package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// form is one way in which an image lies on IPFS: the descriptors that it
// begins with, and where the bytes of a descriptor are.
type form interface {
	// name is what people call the form.
	name() string
	// roots are the descriptors that nothing in the image is above.
	roots() []ocispec.Descriptor
	// locate returns where the bytes of desc are.
	locate(desc ocispec.Descriptor) (location, error)
	// guess returns where content may be of which only the digest is known,
	// where the form puts it by its digest; nothing where it does not.
	guess(dgst digest.Digest) []location
}

// tagger is the power of a form that does not read all its tags to begin with.
type tagger interface {
	// tags are those that it knows of.
	tags() []string
	// find returns what the tag names and where that is. The error is NotFound
	// when there is no such tag.
	find(ctx context.Context, tag string) (ocispec.Descriptor, location, error)
}

// recognise opens p and says which form it has. The error is NotImage and says
// what was found when it has none.
func recognise(ctx context.Context, source Source, p Path) (form, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var layout layoutReader
	if p.Root.Type() == cid.DagProtobuf { // most are layouts: with the root they take one round trip less
		layout = readOCILayout(ctx, source, p)
	}
	f, err := source.Open(ctx, p)
	var other *NotFileError
	switch {
	case err == nil:
		return recogniseFile(ctx, source, f, p)
	case ClassOf(err) == NotFound && p.Rest != "":
		return openStatic(ctx, source, p, err)
	case !errors.As(err, &other):
		return nil, err
	case other.Kind == "directory":
		return recogniseDirectory(ctx, source, p, other, layout)
	default:
		return nil, notImage(p, fmt.Errorf("it is a %s", other.Kind))
	}
}

// recogniseDirectory tells the forms that are directories apart.
func recogniseDirectory(ctx context.Context, source Source, p Path, found *NotFileError, layout layoutReader) (form, error) {
	if _, err := layout(ocispec.ImageLayoutFile); ClassOf(err) != NotFound {
		return openOCILayout(p, layout)
	}
	kind, manifests, err := kindOf(ctx, source, p.Join(manifestsDir))
	if err != nil {
		return nil, err
	}
	if kind == "directory" {
		return openIPDR(ctx, source, p, manifests)
	}
	return nil, notImage(p, nearly(ctx, source, p, found))
}

// nearly says what a directory lacks of the form that it is nearest to.
func nearly(ctx context.Context, source Source, p Path, found *NotFileError) error {
	entries := strings.Join(found.Entries, ", ")
	if kind, _, err := kindOf(ctx, source, p.Join(ocispec.ImageIndexFile)); err == nil && kind != "" {
		return fmt.Errorf("it is a directory with the entries %s: an OCI image layout without its file oci-layout", entries)
	}
	if kind, v2, err := kindOf(ctx, source, p.Join(staticDir)); err == nil && kind == "directory" {
		return fmt.Errorf("it is a static registry, which has to be asked for one of its repositories: %s/<repository>, where %s/v2 has the entries %s",
			p, p, strings.Join(v2, ", "))
	}
	if entries == "" {
		return errors.New("it is an empty directory")
	}
	return fmt.Errorf("it is a directory with the entries %s and without the file oci-layout", entries)
}

// kindOf returns "file", or the kind of what is no file, with the first names of
// a directory, or nothing where there is nothing.
func kindOf(ctx context.Context, source Source, p Path) (kind string, entries []string, err error) {
	f, err := source.Open(ctx, p)
	var other *NotFileError
	switch {
	case err == nil:
		return "file", nil, f.Close()
	case errors.As(err, &other):
		return other.Kind, other.Entries, nil
	case ClassOf(err) == NotFound:
		return "", nil, nil
	default:
		return "", nil, err
	}
}

// recogniseFile reads and closes f.
func recogniseFile(ctx context.Context, source Source, f File, p Path) (form, error) {
	defer f.Close()
	head := make([]byte, min(f.Size(), 512))
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, err
	}
	kind := sniff(head)
	if kind == tarArchive {
		return openArchive(f, p)
	}
	if f.Size() > MaxManifest || kind != jsonDocument {
		return nil, notImage(p, fmt.Errorf("it is %s of %d bytes", kind, f.Size()))
	}
	data := append(head, make([]byte, f.Size()-int64(len(head)))...)
	if _, err := io.ReadFull(f, data[len(head):]); err != nil {
		return nil, err
	}
	l, err := parseRoot(ctx, source, p, data)
	if said := (*Error)(nil); err != nil && !errors.As(err, &said) && ctx.Err() == nil {
		return nil, notImage(p, fmt.Errorf("it is a JSON document of %d bytes, but %w", f.Size(), err))
	}
	return l, err
}

// parseRoot tells the forms that begin with a JSON document apart.
func parseRoot(ctx context.Context, source Source, p Path, data []byte) (form, error) {
	var doc struct {
		MediaType                               string
		Config, Layers, Blobs, Manifests, Layer json.RawMessage
		FSLayers                                json.RawMessage
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("no descriptor: %w", err)
	}
	switch {
	case doc.MediaType == MediaTypeLayer:
		return openLayer(ctx, source, data)
	case doc.Config != nil || doc.Layers != nil || doc.Blobs != nil || doc.Manifests != nil || doc.FSLayers != nil:
		return parseBare(p, data)
	default:
		return parseDescriptorRoot(data)
	}
}

func notImage(p Path, why error) error {
	return &Error{Class: NotImage, Op: fmt.Sprintf("find an image at %s", p), Err: why,
		Hint: "name an OCI image layout (a directory, or a tar file), an uncompressed archive of \"docker save\", " +
			"a repository of a static registry, or the JSON of a manifest, of an index, of an ocipfs layer, or of the descriptor that \"nerdctl push ipfs://\" makes"}
}

// readSmall returns the bytes of a document that has no digest to be proved by.
func readSmall(ctx context.Context, source Source, at location) ([]byte, error) {
	f, err := at.open(ctx, source)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size() > MaxManifest {
		return nil, errTooLarge
	}
	data := make([]byte, f.Size())
	_, err = io.ReadFull(f, data)
	return data, err
}
