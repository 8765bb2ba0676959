package image

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// resolved is an image whose form is known. What it knows of its content grows
// as its manifests are asked for.
type resolved struct {
	path     Path
	form     form
	source   Source
	verdicts *verdicts
	table    *table
	weight   int // of the form's roots; see weigh
	// embedded are the manifests that came with their descriptors.
	embedded map[digest.Digest][]byte
	// reading is held by the one that reads manifests in search of a digest, so
	// that nobody takes "not read yet" for "not there". A channel, because a
	// client that goes away stops waiting for it.
	reading chan struct{}
}

func newResolved(p Path, f form, source Source, v *verdicts) *resolved {
	im := &resolved{path: p, form: f, source: source, verdicts: v, table: newTable(), weight: weigh(f.roots()), reading: make(chan struct{}, 1)}
	for _, desc := range f.roots() {
		im.table.add(f, desc, 0)
	}
	return im
}

// embedded are the contents that descriptors have in them and that are what they
// say. OCI image spec, "descriptor.md", "Embedded Content".
func embedded(all []ocispec.Descriptor) map[digest.Digest][]byte {
	found := map[digest.Digest][]byte{}
	for _, desc := range all {
		if len(desc.Data) > 0 && desc.Digest.Algorithm().FromBytes(desc.Data) == desc.Digest {
			found[desc.Digest] = desc.Data
		}
	}
	return found
}

// document is a manifest or index that has been read and verified.
type document struct {
	desc     ocispec.Descriptor
	c        cid.Cid
	data     []byte
	manifest *Manifest
}

// document reads the manifest with the digest.
func (im *resolved) document(ctx context.Context, dgst digest.Digest) (*document, error) {
	p, err := im.find(ctx, dgst)
	if err != nil {
		return nil, naming(dgst, err)
	}
	return im.readDocument(ctx, dgst, p)
}

func (im *resolved) readDocument(ctx context.Context, dgst digest.Digest, p place) (*document, error) {
	if p.depth > MaxDepth {
		return nil, im.fail(NotImage, dgst, errTooDeep)
	}
	if p.size > MaxManifest {
		return nil, im.tooLarge(dgst, p)
	}
	f, err := im.open(ctx, dgst, p)
	if err != nil {
		return nil, err
	}
	data, err := im.verdicts.readAll(f, dgst)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(data)
	if err != nil {
		return nil, im.fail(NotFound, dgst, fmt.Errorf("there is no manifest of that digest: %w", err))
	}
	im.table.read(im.form, dgst, m, p.depth)
	desc := ocispec.Descriptor{Digest: dgst, Size: p.size, MediaType: p.mediaType}
	desc.MediaType = m.mediaType(desc)
	return &document{desc: desc, c: f.CID(), data: data, manifest: m}, nil
}

func (im *resolved) tooLarge(dgst digest.Digest, p place) error {
	if IsManifest(p.mediaType) {
		return im.fail(NotImage, dgst, fmt.Errorf("a manifest of %d bytes: %w", p.size, errTooLarge))
	}
	return im.fail(NotFound, dgst, fmt.Errorf("it is a blob of %d bytes and no manifest", p.size))
}

// open opens what is at p and fails when its size is not the described one.
func (im *resolved) open(ctx context.Context, dgst digest.Digest, p place) (File, error) {
	if p.lost != nil {
		return nil, im.fail(NotFound, dgst, p.lost)
	}
	if data, ok := im.embedded[dgst]; ok {
		p.at = location{made: data}
	}
	f, err := p.at.open(Of(ctx, im.path.Root), im.source)
	var other *NotFileError
	switch {
	case errors.As(err, &other):
		return nil, im.fail(NotFound, dgst, err)
	case ClassOf(err) == NotFound:
		return nil, im.fail(NotFound, dgst, fmt.Errorf("the image names it, but %w", err))
	case err != nil:
		return nil, naming(dgst, err)
	}
	if f.Size() != p.size {
		_ = f.Close() // only read
		return nil, corrupt(dgst, f.CID(), fmt.Errorf("it has %d bytes and its descriptor says %d", f.Size(), p.size))
	}
	return f, nil
}

func (im *resolved) blob(ctx context.Context, dgst digest.Digest) (*Content, error) {
	p, err := im.find(First{}.In(ctx), dgst) // which opens manifests
	if err != nil {
		return nil, naming(dgst, err)
	}
	f, err := im.open(ctx, dgst, p)
	if err != nil {
		return nil, err
	}
	return im.verdicts.prove(f, ocispec.Descriptor{Digest: dgst, Size: p.size, MediaType: cmp.Or(p.mediaType, "application/octet-stream")})
}

// find returns the place of a digest: from the table, from where the form puts
// digests, or by reading the manifests that have not been read yet.
func (im *resolved) find(ctx context.Context, dgst digest.Digest) (place, error) {
	if p, ok := im.table.get(dgst); ok {
		return p, nil
	}
	if p, ok, err := im.guess(ctx, dgst); ok || err != nil {
		return p, err
	}
	select {
	case im.reading <- struct{}{}:
		defer func() { <-im.reading }()
	case <-ctx.Done():
		return place{}, ctx.Err()
	}
	// One that nobody has is no reason not to look into those after it.
	tried, found := im.readUntil(ctx, 2, func() bool { _, ok := im.table.get(dgst); return ok })
	if found {
		p, _ := im.table.get(dgst)
		return p, nil
	}
	return place{}, im.missing(dgst, tried)
}

// guess looks where the form puts the digest; false where nothing is there.
func (im *resolved) guess(ctx context.Context, dgst digest.Digest) (place, bool, error) {
	for _, at := range im.form.guess(dgst) {
		f, err := at.open(Of(ctx, im.path.Root), im.source)
		var other *NotFileError
		if ClassOf(err) == NotFound || errors.As(err, &other) {
			continue
		}
		if err != nil {
			return place{}, false, err
		}
		return place{at: at, size: f.Size()}, true, f.Close()
	}
	return place{}, false, nil
}

const (
	// longWait is how long it takes, at least, to learn that nobody has something
	// when that is not known at once, as it is of what a disk lacks.
	longWait = time.Second
	// maxShortWaits is how long those may take together that took less each.
	maxShortWaits = 30 * time.Second
)

// readUntil reads unread manifests until enough says so, and returns what came
// of each. It gives up after so many waits for one that nobody has, of which an
// image can name thousands: the next question begins with others. The caller holds
// reading.
func (im *resolved) readUntil(ctx context.Context, waits int, enough func() bool) (map[digest.Digest]error, bool) {
	tried, short := map[digest.Digest]error{}, time.Duration(0)
	for !enough() {
		dgst, ok := im.table.next(tried)
		if !ok || waits == 0 || short >= maxShortWaits {
			return tried, false
		}
		p, _ := im.table.get(dgst)
		begun := time.Now()
		_, err := im.readDocument(ctx, dgst, p)
		tried[dgst] = err
		if err == nil || ClassOf(err) != Unavailable && ClassOf(err) != 0 {
			continue
		}
		im.table.postpone(dgst)
		if took := time.Since(begun); took >= longWait {
			waits--
		} else {
			short += took
		}
	}
	return tried, true
}

// worst is why something of what was tried could not be read, nil if all of it was,
// or is not there: that it is out of reach before all else, as that may pass.
func worst(tried map[digest.Digest]error) (worst error) {
	for _, dgst := range slices.Sorted(maps.Keys(tried)) {
		switch err := tried[dgst]; {
		case err == nil || ClassOf(err) == NotFound:
		case ClassOf(err) == Unavailable:
			return err
		case worst == nil || ClassOf(err) == 0:
			worst = err
		}
	}
	return worst
}

// missing is the error for a digest that no manifest read so far names. A
// manifest that could not be had might have named it, and then the digest is
// not absent but out of reach.
func (im *resolved) missing(dgst digest.Digest, tried map[digest.Digest]error) error {
	if err := worst(tried); err != nil {
		return err
	}
	if why := im.table.limits(); why != nil {
		return im.fail(NotImage, dgst, why)
	}
	return im.fail(NotFound, dgst, errors.New("no manifest of the image names it"))
}

func (im *resolved) fail(class Class, dgst digest.Digest, why error) error {
	return &Error{Class: class, Op: fmt.Sprintf("find %s in the image at %s", dgst, im.path), Err: why}
}

// referrersOf reads every manifest of the image, the first time, because the
// link is from the referrer to its subject and not the other way. Annotations for
// which an answer of MaxManifest has no room are left out: the descriptor does
// without them, and who wants them reads the manifest.
func (im *resolved) referrersOf(ctx context.Context, dgst digest.Digest) ([]ocispec.Descriptor, error) {
	if err := im.readAll(ctx); err != nil {
		return nil, err
	}
	list, room := []ocispec.Descriptor{}, MaxManifest
	for _, d := range im.table.referrersOf(dgst) {
		doc, err := im.document(ctx, d)
		if err != nil {
			return nil, err
		}
		desc := doc.desc
		desc.ArtifactType = doc.manifest.ReferrerType()
		if size := jsonSize(doc.manifest.Annotations); size <= room {
			desc.Annotations, room = doc.manifest.Annotations, room-size
		}
		list = append(list, desc)
	}
	return list, nil
}

// jsonSize is how many bytes of JSON the annotations are.
func jsonSize(annotations map[string]string) int {
	data, err := json.Marshal(annotations)
	if err != nil {
		panic(err) // strings always marshal
	}
	return len(data)
}

// readAll reads every manifest that is there. One that is not, such as that of
// a platform left out, is passed over.
func (im *resolved) readAll(ctx context.Context) error {
	select {
	case im.reading <- struct{}{}:
		defer func() { <-im.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	tried, _ := im.readUntil(ctx, 1, func() bool { return false })
	return worst(tried)
}
