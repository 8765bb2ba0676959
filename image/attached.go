package image

import (
	"context"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// annotationSubject is how BuildKit says what an attestation in an index is of.
const annotationSubject = "vnd.docker.reference.digest"

// attached takes in what is attached to what was selected, and to that.
func (w *walk) attached(ctx context.Context) error {
	if err := w.im.readAll(ctx); err != nil {
		return err
	}
	a := newAttachments(w.im)
	for i, annotated := 0, 0; i < len(w.closure.Manifests); i++ {
		for ; annotated < len(w.closure.Manifests); annotated++ {
			a.annotated(ctx, w.closure.Manifests[annotated])
		}
		for _, dgst := range a.of(ctx, w.closure.Manifests[i]) {
			if err := w.attach(ctx, dgst); err != nil {
				return err
			}
		}
	}
	return nil
}

// attach takes in what is attached, which counts whatever the selection says.
func (w *walk) attach(ctx context.Context, dgst digest.Digest) error {
	whole := walk{im: w.im, seen: w.seen, closure: w.closure}
	if err := whole.manifest(ctx, ocispec.Descriptor{Digest: dgst}); err != nil && ClassOf(err) != NotFound {
		return err
	}
	w.closure = whole.closure
	return nil
}

// attachments are what is attached to manifests, by the digest of the manifest,
// except by a subject, which the table knows. Whoever made the image may have named
// thousands, so nothing is read or looked through for each of them.
type attachments struct {
	im   *resolved
	tags map[digest.Digest][]string // which may lead there
	here map[digest.Digest][]digest.Digest
	// room is how many more here may have of the indexes, which have no bound
	// together.
	room int
}

// maxAttested is how many attestations an image may have.
const maxAttested = 4 * MaxDescriptors

func newAttachments(im *resolved) *attachments {
	a := &attachments{im, map[digest.Digest][]string{}, map[digest.Digest][]digest.Digest{}, maxAttested}
	for _, desc := range im.form.roots() {
		if subject := AttachedTo(tagOf(desc)); subject != "" {
			a.here[subject] = append(a.here[subject], desc.Digest)
		}
	}
	if f, ok := im.form.(tagger); ok {
		for _, tag := range f.tags() {
			if subject := AttachedTo(tag); subject != "" {
				a.tags[subject] = append(a.tags[subject], tag)
			}
		}
	}
	return a
}

// annotated notes the attestations in an index.
func (a *attachments) annotated(ctx context.Context, index digest.Digest) {
	doc, err := a.im.document(ctx, index)
	if err != nil {
		return // it was read before; what it names is there already
	}
	for _, desc := range doc.manifest.Manifests {
		subject := digest.Digest(desc.Annotations[annotationSubject])
		if subject.Validate() == nil && a.room > 0 {
			a.here[subject] = append(a.here[subject], desc.Digest)
			a.room--
		}
	}
}

func (a *attachments) of(ctx context.Context, subject digest.Digest) []digest.Digest {
	found := slices.Concat(a.im.table.referrersOf(subject), a.here[subject])
	for _, tag := range a.tags[subject] {
		if desc, err := a.im.tagged(ctx, tag); err == nil {
			found = append(found, desc.Digest)
		}
	}
	return found
}

// AttachmentTag is a tag that attaches content to the manifest subject, as cosign
// makes it: sha256-<hex>.sig for a signature, and likewise .att and .sbom.
func AttachmentTag(subject digest.Digest, suffix string) string {
	return strings.Replace(subject.String(), ":", "-", 1) + suffix
}

// AttachedTo is the manifest that a tag attaches content to, whatever its suffix, or
// "" for a tag that attaches nothing.
func AttachedTo(tag string) digest.Digest {
	name, _, _ := strings.Cut(tag, ".")
	dgst := digest.Digest(strings.Replace(name, "-", ":", 1))
	if !IsTag(tag) || dgst.Validate() != nil {
		return ""
	}
	return dgst
}
