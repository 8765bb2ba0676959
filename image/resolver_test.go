package image_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/multiformats/go-multihash"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

var bigLayer = bytes.Repeat([]byte("layer bytes "), 300_000)

func resolver(s image.Source) *image.Resolver {
	return image.NewResolver(s, dssync.MutexWrap(datastore.NewMapDatastore()), image.ResolverOptions{})
}

func at(c cid.Cid) image.Path { return image.Path{Root: c} }

func absentCID() cid.Cid {
	mh, _ := multihash.Sum([]byte("nobody has this"), multihash.SHA2_256, -1)
	return cid.NewCidV1(cid.Raw, mh)
}

func TestStoreKeepsTheContract(t *testing.T) {
	imagetest.TestSource(t, imagetest.NewStore(), absentCID())
}

// pull reads an image as a client does and returns the digests it read.
func pull(t *testing.T, r *image.Resolver, p image.Path, ref string) []digest.Digest {
	t.Helper()
	m, err := r.Manifest(t.Context(), p, ref)
	if err != nil {
		t.Fatalf("manifest %s: %v", ref, err)
	}
	read := []digest.Digest{m.Descriptor.Digest}
	var doc struct {
		Manifests, Layers []ocispec.Descriptor
		Config            *ocispec.Descriptor
	}
	decode(t, m, &doc)
	for _, child := range doc.Manifests {
		read = append(read, pull(t, r, p, child.Digest.String())...)
	}
	if doc.Config != nil {
		doc.Layers = append(doc.Layers, *doc.Config)
	}
	for _, desc := range doc.Layers {
		b, err := r.Blob(t.Context(), p, desc.Digest)
		if err != nil {
			t.Fatalf("blob %s: %v", desc.Digest, err)
		}
		data := readAll(t, b)
		if digest.FromBytes(data) != desc.Digest || int64(len(data)) != desc.Size {
			t.Fatalf("blob %s is not what it says", desc.Digest)
		}
		read = append(read, desc.Digest)
	}
	return read
}

func TestBothFormsServeTheWholeImage(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	index := b.Index(b.Image("amd64", []byte("small"), bigLayer), b.Image("arm64", []byte("other")))
	nerdctl, rewritten := b.Nerdctl(s, index)
	for name, tc := range map[string]struct {
		root cid.Cid
		want digest.Digest
	}{
		"layout":  {b.Layout(s, nil, index), index.Digest},
		"nerdctl": {nerdctl, rewritten.Digest},
	} {
		t.Run(name, func(t *testing.T) {
			r := resolver(s)
			read := pull(t, r, at(tc.root), "latest")
			if len(read) != 8 || read[0] != tc.want {
				t.Errorf("read %v; want eight digests, first %s", read, tc.want)
			}
			if tags, err := r.Tags(t.Context(), at(tc.root)); err != nil || !slices.Equal(tags, []string{"latest"}) {
				t.Errorf("tags %v, %v", tags, err)
			}
			// A daemon that has restarted is asked for a blob first.
			for _, dgst := range read[1:] {
				c, err := resolver(s).Blob(t.Context(), at(tc.root), dgst)
				if err != nil {
					t.Fatalf("%s asked first: %v", dgst, err)
				}
				c.Close()
			}
		})
	}
}

func TestAnImageBelowADirectory(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	root := s.AddDir(map[string]cid.Cid{"deep/in/image": b.Layout(s, nil, b.Image("amd64", []byte("x")))})
	pull(t, resolver(s), image.Path{Root: root, Rest: "deep/in/image"}, "latest")
}

func TestTags(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	one, two := b.Image("amd64", []byte("one")), b.Image("amd64", []byte("two"))
	root := b.Layout(s, nil, imagetest.Tagged(two, "v2"), imagetest.Tagged(one, "docker.io/library/x:v1"), b.Artifact(one, "text/sig", []byte("sig")))
	r := resolver(s)
	if tags, err := r.Tags(t.Context(), at(root)); err != nil || !slices.Equal(tags, []string{"v1", "v2"}) {
		t.Errorf("tags %v, %v; want v1 and v2", tags, err)
	}
	if got := pull(t, r, at(root), "v1"); got[0] != one.Digest {
		t.Errorf("v1 is %s; want %s", got[0], one.Digest)
	}
	_, err := r.Manifest(t.Context(), at(root), "latest")
	if image.ClassOf(err) != image.NotFound || !strings.Contains(err.Error(), "it has the tags v1, v2") {
		t.Errorf("latest of two gave %v; want the list of tags", err)
	}
}

func TestLatestIsTheOnlyImageBesideItsSignature(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	img := b.Image("amd64", []byte("one"))
	root := b.Layout(s, nil, imagetest.Tagged(img, "v1"), b.Artifact(img, "text/sig", []byte("sig")))
	if got := pull(t, resolver(s), at(root), "latest"); got[0] != img.Digest {
		t.Errorf("latest is %s; want %s", got[0], img.Digest)
	}
}

func TestReferrers(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	img := b.Image("amd64", []byte("one"))
	sig, bom := b.Artifact(img, "text/sig", []byte("sig")), b.Artifact(img, "text/sbom", []byte("bom"))
	root := b.Layout(s, nil, img, sig, bom)
	r := resolver(s)
	list, err := r.Referrers(t.Context(), at(root), img.Digest)
	if err != nil || len(list) != 2 {
		t.Fatalf("referrers %v, %v; want two", list, err)
	}
	for _, d := range list {
		if d.Annotations["org.example.of"] != d.ArtifactType || d.Size == 0 || d.MediaType != ocispec.MediaTypeImageManifest {
			t.Errorf("descriptor %+v lacks type, size or annotations", d)
		}
	}
	if list, err := r.Referrers(t.Context(), at(root), sig.Digest); err != nil || list == nil || len(list) != 0 {
		t.Errorf("referrers of a signature: %v, %v; want an empty list", list, err)
	}
}

// Whoever asks for referrers of large annotations has all the referrers, and no
// more of the annotations than a document may be large.
func TestReferrersWithLargeAnnotations(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	roots := []ocispec.Descriptor{b.Image("amd64", []byte("one"))}
	for i := range 20 {
		roots = append(roots, b.AddJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest,
			ArtifactType: "text/sig", Subject: &roots[0], Config: b.Add(ocispec.MediaTypeEmptyJSON, []byte("{}")),
			Annotations: map[string]string{"a": strings.Repeat("<", 100_000), "b": strconv.Itoa(i)}}))
	}
	list, err := resolver(s).Referrers(t.Context(), at(b.Layout(s, nil, roots...)), roots[0].Digest)
	if err != nil || len(list) != 20 || len(list[0].Annotations) != 2 || list[19].ArtifactType != "text/sig" {
		t.Fatalf("%d referrers, %v; want 20 with their types, the first with its annotations", len(list), err)
	}
	if size := len(imagetest.JSON(list)); size > 2*image.MaxManifest {
		t.Errorf("they are %d bytes of JSON", size)
	}
}

// slow is a Source that takes a while to say that nobody has something.
type slow struct {
	image.Source
	wait time.Duration
}

func (s slow) Open(ctx ctx, p image.Path) (image.File, error) {
	f, err := s.Source.Open(ctx, p)
	if image.ClassOf(err) == image.Unavailable {
		pass(s.wait)
	}
	return f, err
}

// withoutSome stores an image of platforms, of which nobody has the manifests of
// the first ones, and returns the last one's layer.
func withoutSome(s *imagetest.Store, absent int) (image.Path, digest.Digest) {
	b, gone := imagetest.Blobs{}, []ocispec.Descriptor{}
	for i := range absent {
		gone = append(gone, b.Image("amd64", []byte(strconv.Itoa(i))))
	}
	root, desc := b.Nerdctl(s, b.Index(append(gone, b.Image("arm64", []byte("here")))...))
	var index ocispec.Index
	f, err := s.Open(context.Background(), image.Path{Root: mustCID(desc.URLs[0])})
	if err == nil {
		err = json.NewDecoder(f).Decode(&index)
		f.Close()
	}
	if err != nil {
		panic(err) // it was just stored
	}
	for _, m := range index.Manifests[:absent] {
		s.Remove(mustCID(m.URLs[0]))
	}
	return at(root), digest.FromString("here")
}

func mustCID(url string) cid.Cid { return cid.MustParse(strings.TrimPrefix(url, "ipfs://")) }

// What is here of an image is found by asking again, though each question gives up
// at others that nobody has.
func TestWhatIsHereBehindWhatNobodyHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := imagetest.NewStore()
		p, dgst := withoutSome(s, 3)
		r := resolver(slow{s, 10 * time.Second})
		var err error
		for range 3 {
			var c *image.Content
			if c, err = r.Blob(t.Context(), p, dgst); err == nil {
				c.Close()
				return
			}
		}
		t.Errorf("a blob that is here: %v", err)
	})
}

// Thousands of short waits are a long one.
func TestManyShortWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := imagetest.NewStore()
		p, _ := withoutSome(s, 200)
		began := time.Now()
		_, err := resolver(slow{s, 900 * time.Millisecond}).Blob(t.Context(), p, digest.FromString("of none"))
		if took := time.Since(began); image.ClassOf(err) != image.Unavailable || took > time.Minute {
			t.Errorf("%v after %s", err, took)
		}
	})
}

// What is out of reach is said to be so, whatever else is wrong: who asked will try
// again.
func TestOutOfReachBeforeAllElse(t *testing.T) {
	s, b := imagetest.NewStore(), imagetest.Blobs{}
	var children []ocispec.Descriptor
	for i := range 10 {
		children = append(children, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest,
			Digest: digest.FromString(fmt.Sprint("too large ", i)), Size: image.MaxManifest + 1})
	}
	children[7].Size = 12 // and nobody has it
	root := s.AddFile(b[b.Index(children...).Digest])
	for range 10 {
		r := resolver(s)
		_, err := r.Blob(t.Context(), at(root), digest.FromString("named by one of them"))
		if image.ClassOf(err) != image.Unavailable {
			t.Errorf("a blob: %v", err)
		}
		_, err = r.Referrers(t.Context(), at(root), digest.FromString("a subject"))
		if image.ClassOf(err) != image.Unavailable {
			t.Errorf("referrers: %v", err)
		}
	}
}

// One question does not wait for all the manifests that nobody has, one after
// the other; what it learns at once it goes on from.
func TestManifestsThatNobodyHas(t *testing.T) {
	slowly := func(s image.Source) image.Source { return slow{s, time.Minute} }
	atOnce := func(s image.Source) image.Source { return s }
	synctest.Test(t, func(t *testing.T) {
		referrers := func(r *image.Resolver, p image.Path, dgst digest.Digest) error {
			_, err := r.Referrers(t.Context(), p, dgst)
			return err
		}
		blob := func(r *image.Resolver, p image.Path, dgst digest.Digest) error {
			c, err := r.Blob(t.Context(), p, dgst)
			if err == nil {
				c.Close()
			}
			return err
		}
		for what, c := range map[string]struct {
			absent int
			source func(image.Source) image.Source
			ask    func(*image.Resolver, image.Path, digest.Digest) error
			want   image.Class
			most   time.Duration
		}{
			"referrers":                  {10, slowly, referrers, image.Unavailable, time.Minute},
			"a blob after many":          {10, slowly, blob, image.Unavailable, 2 * time.Minute},
			"a blob after one":           {1, slowly, blob, 0, time.Minute},
			"a blob after many, offline": {10, atOnce, blob, 0, 0},
		} {
			s := imagetest.NewStore()
			p, dgst := withoutSome(s, c.absent)
			r, begun := resolver(c.source(s)), time.Now()
			err := c.ask(r, p, dgst)
			if took := time.Since(begun); image.ClassOf(err) != c.want || took > c.most {
				t.Errorf("%s: %v after %v; want the class %v within %v", what, err, took, c.want, c.most)
			}
		}
	})
}

func TestDescribe(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	index := b.Index(b.Image("amd64", bigLayer), b.Image("arm64", bigLayer))
	d, err := resolver(s).Describe(t.Context(), image.Reference{Path: at(b.Layout(s, nil, index))})
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	for _, data := range b {
		want += int64(len(data))
	}
	if d.Size != want || len(d.Platforms) != 2 || d.Form != "OCI image layout" || d.Descriptor.Digest != index.Digest {
		t.Errorf("described as %+v; want %d bytes and two platforms", d, want)
	}
}

func TestWhatIsNoImageSaysWhatItIs(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	marker := s.AddFile([]byte(`{"imageLayoutVersion":"1.0.0"}`))
	config := b.AddJSON(ocispec.MediaTypeImageConfig, map[string]string{"os": "linux"})
	config.URLs = []string{"ipfs://" + s.AddFile(b[config.Digest]).String()}
	for want, c := range map[string]cid.Cid{
		"a directory with the entries a.txt, b.txt and without the file oci-layout": s.AddDir(map[string]cid.Cid{"a.txt": marker, "b.txt": marker}),
		"without the file index.json":                                                    s.AddDir(map[string]cid.Cid{"oci-layout": marker}),
		"its file oci-layout does not say imageLayoutVersion":                            s.AddDir(map[string]cid.Cid{"oci-layout": s.AddFile([]byte("{}")), "index.json": marker}),
		"of its index.json: it is no JSON manifest":                                      s.AddDir(map[string]cid.Cid{"oci-layout": marker, "index.json": s.AddFile([]byte("hello"))}),
		"it is a text file of 5 bytes":                                                   s.AddFile([]byte("hello")),
		"it is a gzip file of 12000000 bytes":                                            s.AddFile(append([]byte{0x1f, 0x8b}, make([]byte, 11999998)...)),
		"it is a JSON document of 2097154 bytes, but no descriptor":                      s.AddFile([]byte("{" + strings.Repeat(" ", 2<<20) + "}")),
		"it is a JSON document of 5000000 bytes":                                         s.AddFile(append([]byte("{"), make([]byte, 4999999)...)),
		"it is an empty file":                                                            s.AddFile(nil),
		"a descriptor of \"application/vnd.oci.image.config.v1+json\", which is neither": s.AddFile(imagetest.JSON(config)),
		"has no ipfs:// URL":                                                             s.AddFile(imagetest.JSON(b.Image("amd64", []byte("x")))),
	} {
		_, err := resolver(s).Manifest(t.Context(), at(c), "latest")
		if image.ClassOf(err) != image.NotImage || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), c.String()) {
			t.Errorf("%v\n want the class NotImage, the CID and %q", err, want)
		}
	}
}

func TestLies(t *testing.T) {
	b := imagetest.Blobs{}
	img := b.Image("amd64", []byte("small"), bigLayer)
	flipped := bytes.Clone(bigLayer)
	flipped[1_500_000]++
	small, big := digest.FromString("small"), digest.FromBytes(bigLayer)
	for name, tc := range map[string]struct {
		lies Blobs
		ask  digest.Digest
	}{
		"a manifest of other bytes":    {Blobs{img.Digest: bytes.Replace(b[img.Digest], []byte("layers"), []byte("lavers"), 1)}, img.Digest},
		"a manifest of another size":   {Blobs{img.Digest: append(bytes.Clone(b[img.Digest]), ' ')}, img.Digest},
		"a small blob of other bytes":  {Blobs{small: []byte("smell")}, small},
		"a blob of another size":       {Blobs{small: []byte("smaller")}, small},
		"a large blob of other bytes":  {Blobs{big: flipped}, big},
		"a large blob of another size": {Blobs{big: flipped[:2_000_000]}, big},
	} {
		t.Run(name, func(t *testing.T) {
			s := imagetest.NewStore()
			p, r := at(b.Layout(s, tc.lies, img)), resolver(s)
			if tc.ask != img.Digest {
				pullManifest(t, r, p)
			}
			for range 2 { // a lie is not believed the second time either
				n, err := readTo(r, t, p, tc.ask, tc.ask == img.Digest)
				if image.ClassOf(err) != image.Corrupt || !strings.Contains(err.Error(), tc.ask.String()) {
					t.Errorf("got %v; want the class Corrupt and the digest", err)
				}
				if n == int64(len(b[tc.ask])) {
					t.Error("the last byte of a lie was handed out")
				}
			}
		})
	}
}

type Blobs = imagetest.Blobs

func pullManifest(t *testing.T, r *image.Resolver, p image.Path) {
	t.Helper()
	m, err := r.Manifest(t.Context(), p, "latest")
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}

func readTo(r *image.Resolver, t *testing.T, p image.Path, dgst digest.Digest, manifest bool) (int64, error) {
	get := func() (*image.Content, error) { return r.Blob(t.Context(), p, dgst) }
	if manifest {
		get = func() (*image.Content, error) { return r.Manifest(t.Context(), p, dgst.String()) }
	}
	c, err := get()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return io.Copy(io.Discard, c)
}

func TestAVerdictIsRememberedAcrossRestarts(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	p := at(b.Layout(s, nil, b.Image("amd64", bigLayer)))
	store := dssync.MutexWrap(datastore.NewMapDatastore())
	// The Store's CIDs are hashes of whole files, which would be verdicts by
	// themselves, so the Source gives the files other CIDs here.
	source := renamed{s}
	kinds := []string{}
	for range 2 {
		r := image.NewResolver(source, store, image.ResolverOptions{})
		c, err := r.Blob(t.Context(), p, digest.FromBytes(bigLayer))
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, fmt.Sprintf("%T", c.File))
		readAll(t, c)
	}
	if kinds[0] != "*image.verifyingFile" || kinds[1] != "image_test.renamedFile" {
		t.Errorf("read through %v; want hashing the first time only", kinds)
	}
}

// full is a datastore that takes nothing.
type full struct{ datastore.Datastore }

func (full) Put(ctx, datastore.Key, []byte) error { return errors.New("the disk is full") }

// What can't be remembered is read all the same, and the log says why.
func TestAVerdictThatCannotBeKept(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	p := at(b.Layout(s, nil, b.Image("amd64", bigLayer)))
	var logs bytes.Buffer
	r := image.NewResolver(renamed{s}, full{datastore.NewMapDatastore()}, image.ResolverOptions{Log: slog.New(slog.NewTextHandler(&logs, nil))})
	c, err := r.Blob(t.Context(), p, digest.FromBytes(bigLayer))
	if err != nil {
		t.Fatal(err)
	}
	if data := readAll(t, c); !bytes.Equal(data, bigLayer) {
		t.Error("it was not the blob")
	}
	if said := logs.String(); !strings.Contains(said, `could not keep a verification verdict`) || !strings.Contains(said, `error="the disk is full"`) {
		t.Errorf("logged %q", said)
	}
}

// renamed is a Source whose CIDs say nothing of the files' SHA-256.
type renamed struct{ image.Source }

type renamedFile struct{ image.File }

func (s renamed) Open(ctx ctx, p image.Path) (image.File, error) {
	f, err := s.Source.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	return renamedFile{f}, nil
}

func (f renamedFile) CID() cid.Cid {
	sum := sha256.Sum256(append([]byte("renamed "), f.File.CID().Bytes()...))
	mh, _ := multihash.Encode(sum[:], multihash.SHA2_256)
	return cid.NewCidV1(cid.Raw, mh)
}

func TestOutOfOrderReadsOfAnUnverifiedBlob(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	p := at(b.Layout(s, nil, b.Image("amd64", bigLayer)))
	c, err := resolver(renamed{s}).Blob(t.Context(), p, digest.FromBytes(bigLayer))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, off := range []int64{2_000_000, 0, 5, 1_000_000, 0} {
		if _, err := c.Seek(off, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 700_000)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, bigLayer[off:off+700_000]) {
			t.Fatalf("at %d: %v", off, err)
		}
	}
	if _, err := c.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, c); !bytes.Equal(got, bigLayer) {
		t.Error("read whole after that, it was not the blob")
	}
}

func TestAbsentIsNotUnreachable(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	index := b.Index(b.Image("amd64", []byte("one")), b.Image("arm64", []byte("two")))
	root, desc := b.Nerdctl(s, index)
	absent := digest.FromString("absent")
	if _, err := resolver(s).Blob(t.Context(), at(root), absent); image.ClassOf(err) != image.NotFound {
		t.Errorf("an absent digest gave %v; want the class NotFound", err)
	}
	if _, err := resolver(s).Manifest(t.Context(), at(absentCID()), "latest"); image.ClassOf(err) != image.Unavailable {
		t.Errorf("a CID nobody has gave %v; want the class Unavailable", err)
	}
	// One of the two manifests, which might name the digest, is out of reach.
	index2, err := resolver(s).Manifest(t.Context(), at(root), desc.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	var doc ocispec.Index
	decode(t, index2, &doc)
	ref, err := image.ParseReference(doc.Manifests[1].URLs[0])
	if err != nil {
		t.Fatal(err)
	}
	s.Remove(ref.Path.Root)
	if _, err := resolver(s).Blob(t.Context(), at(root), absent); image.ClassOf(err) != image.Unavailable {
		t.Errorf("a digest perhaps named out of reach gave %v; want the class Unavailable", err)
	}
	if _, err := resolver(s).Blob(t.Context(), at(root), digest.FromString("one")); err != nil {
		t.Errorf("what is within reach gave %v", err)
	}
}

func TestDeepAndWideImagesEnd(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	deep := b.Image("amd64", []byte("x"))
	for range 100 {
		deep = b.Index(deep)
	}
	r, p := resolver(s), at(b.Layout(s, nil, deep))
	if _, err := r.Referrers(t.Context(), p, deep.Digest); err != nil {
		t.Errorf("referrers of a deep image: %v", err)
	}
	if _, err := r.Describe(t.Context(), image.Reference{Path: p}); image.ClassOf(err) != image.NotImage || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("a hundredfold nested index gave %v", err)
	}
	root, _ := b.Nerdctl(s, deep)
	if _, err := resolver(s).Blob(t.Context(), at(root), digest.FromString("x")); image.ClassOf(err) != image.NotImage || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("a blob below a hundred indexes gave %v", err)
	}
	wide := make([]ocispec.Descriptor, 5000)
	for i := range wide {
		wide[i] = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 1}
	}
	wideRoot := b.Layout(s, nil, b.Index(wide...))
	_, err := resolver(s).Blob(t.Context(), at(wideRoot), digest.FromString("nowhere"))
	if image.ClassOf(err) != image.NotImage || !strings.Contains(err.Error(), "more than 4096") {
		t.Errorf("an index of 5,000 manifests gave %v", err)
	}
}

func TestManifestLimit(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	huge := b.Add(ocispec.MediaTypeImageManifest, append([]byte(`{"layers":[]`), append(bytes.Repeat([]byte(" "), 5<<20), '}')...))
	layer := b.Image("amd64", bytes.Repeat([]byte("l"), 5<<20))
	r, p := resolver(s), at(b.Layout(s, nil, huge, layer))
	if _, err := r.Manifest(t.Context(), p, huge.Digest.String()); image.ClassOf(err) != image.NotImage || !strings.Contains(err.Error(), "4 MiB") {
		t.Errorf("a manifest above 4 MiB gave %v", err)
	}
	if _, err := r.Manifest(t.Context(), p, digest.FromBytes(bytes.Repeat([]byte("l"), 5<<20)).String()); image.ClassOf(err) != image.NotFound {
		t.Errorf("a layer asked for as a manifest gave %v; want the class NotFound", err)
	}
}

func readAll(t *testing.T, c *image.Content) []byte {
	t.Helper()
	defer c.Close()
	data, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzRoot gives the resolver roots that anybody could have made.
func FuzzRoot(f *testing.F) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	_, desc := b.Nerdctl(s, b.Index(b.Image("amd64", []byte("x"))))
	f.Add(imagetest.JSON(desc))
	f.Add(imagetest.JSON(ocispec.Index{Manifests: []ocispec.Descriptor{imagetest.Tagged(desc, "v1")}}))
	f.Add([]byte(`{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:","urls":["ipfs://"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := imagetest.NewStore()
		file := s.AddFile(data)
		layout := s.AddDir(map[string]cid.Cid{"index.json": file, "oci-layout": s.AddFile([]byte(`{"imageLayoutVersion":"1.0.0"}`)),
			"blobs/sha256/" + digest.FromBytes(data).Encoded(): file})
		for _, root := range []cid.Cid{file, layout} {
			r := resolver(s)
			for _, ref := range []string{"latest", digest.FromBytes(data).String()} {
				if c, err := r.Manifest(t.Context(), at(root), ref); err == nil && digest.FromBytes(readAll(t, c)) != c.Descriptor.Digest {
					t.Fatalf("%s answered with other bytes", ref)
				} else if err != nil && image.ClassOf(err) == 0 {
					t.Fatalf("%v has no class", err)
				}
			}
			if _, err := r.Referrers(t.Context(), at(root), digest.FromString("x")); err != nil && image.ClassOf(err) == 0 {
				t.Fatalf("%v has no class", err)
			}
		}
	})
}
