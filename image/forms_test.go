package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

func TestEveryFormServesTheWholeImage(t *testing.T) {
	s := imagetest.NewStore()
	for _, form := range imagetest.Forms(s, bigLayer, []byte("small")) {
		t.Run(form.Title, func(t *testing.T) {
			closing(t, s, func(t *testing.T) { testForm(t, s, form) })
		})
	}
}

func testForm(t *testing.T, s *imagetest.Store, form imagetest.Form) {
	r := resolver(s)
	read := pull(t, r, form.Path, form.Tag)
	if latest := pull(t, r, form.Path, "latest"); !slices.Equal(latest, read) {
		t.Errorf("latest is %v; want %v, the only image", latest, read)
	}
	if form.Root != "" && read[0] != form.Root || form.Keeps && !slices.Contains(read, digest.FromBytes(bigLayer)) {
		t.Errorf("read %v; want the root %s and the layers unchanged", read, form.Root)
	}
	if tags, err := r.Tags(t.Context(), form.Path); err != nil || !slices.Equal(tags, []string{form.Tag}) {
		t.Errorf("the tags %v, %v; want %s", tags, err, form.Tag)
	}
	if d, err := r.Describe(t.Context(), image.Reference{Path: form.Path, Tag: form.Tag}); err != nil || d.Form != form.Title {
		t.Errorf("described as %+v, %v", d, err)
	}
	for _, dgst := range read { // of a daemon that has restarted
		testSections(t, resolver(renamed{s}), form.Path, dgst)
	}
	if _, err := r.Manifest(t.Context(), form.Path, "nope"); image.ClassOf(err) != image.NotFound || !strings.Contains(err.Error(), form.Tag) {
		t.Errorf("a tag that is not there gave %v; want the tags", err)
	}
	if _, err := r.Blob(t.Context(), form.Path, digest.FromString("absent")); image.ClassOf(err) != image.NotFound {
		t.Errorf("a digest that is not there gave %v", err)
	}
	if list, err := r.Referrers(t.Context(), form.Path, read[0]); err != nil || len(list) != 0 {
		t.Errorf("the referrers %v, %v; want none", list, err)
	}
}

// testSections reads a blob whole, then parts of it.
func testSections(t *testing.T, r *image.Resolver, p image.Path, dgst digest.Digest) {
	t.Helper()
	c, err := r.Blob(t.Context(), p, dgst)
	if err != nil {
		t.Fatalf("%s asked first: %v", dgst, err)
	}
	defer c.Close()
	data, err := io.ReadAll(c)
	if err != nil || digest.FromBytes(data) != dgst || c.Size() != int64(len(data)) {
		t.Fatalf("%s: %d bytes, %v", dgst, len(data), err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%s: behind the end are %d bytes, %v", dgst, n, err)
	}
	for _, off := range []int64{0, 1, c.Size() / 2, c.Size()} {
		if pos, err := c.Seek(off-c.Size(), io.SeekEnd); err != nil || pos != off {
			t.Fatalf("seek to %d: %d, %v", off, pos, err)
		}
		var buf bytes.Buffer
		if direct, ok := c.File.(image.LimitedWriterTo); ok {
			if n, err := direct.WriteNTo(&buf, c.Size()-off); err != nil || n != c.Size()-off {
				t.Fatalf("%s from %d on: %d, %v", dgst, off, n, err)
			}
			if n, err := direct.WriteNTo(&buf, 1); n != 0 || err == nil {
				t.Fatalf("%s: behind the end WriteNTo gave %d, %v", dgst, n, err)
			}
		} else if _, err := io.Copy(&buf, c); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf.Bytes(), data[off:]) {
			t.Fatalf("%s from %d on is another", dgst, off)
		}
	}
}

func TestArchivesOfSeveralImages(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	one, two := b.Image("amd64", []byte("one")), b.Image("amd64", []byte("two"))
	whole := func(desc ocispec.Descriptor, name string) ocispec.Descriptor {
		desc.Annotations = map[string]string{"io.containerd.image.name": name, ocispec.AnnotationRefName: "v1"}
		return desc
	}
	p := at(s.AddFile(b.OCIArchive(whole(one, "docker.io/a:v1"), whole(two, "docker.io/b:v1"))))
	_, err := resolver(s).Manifest(t.Context(), p, "v1")
	if image.ClassOf(err) != image.NotFound || !strings.Contains(err.Error(), "docker.io/a:v1 "+one.Digest.String()) {
		t.Errorf("a tag of two images gave %v; want their names and digests", err)
	}
	if got := pull(t, resolver(s), p, two.Digest.String()); got[0] != two.Digest {
		t.Errorf("by digest: %v", got)
	}
	p = at(s.AddFile(b.OCIArchive(imagetest.Tagged(one, "v1"), imagetest.Tagged(two, "v2"))))
	if _, err := resolver(s).Manifest(t.Context(), p, "latest"); image.ClassOf(err) != image.NotFound || !strings.Contains(err.Error(), "the tags v1, v2") {
		t.Errorf("two images and no tag gave %v; want the tags", err)
	}
	p = at(s.AddFile(b.DockerArchive(one, "a:v1", "a:v2")))
	if tags, err := resolver(s).Tags(t.Context(), p); err != nil || !slices.Equal(tags, []string{"v1", "v2"}) {
		t.Errorf("the tags %v, %v; want v1 and v2", tags, err)
	}
	pull(t, resolver(s), p, "latest")
}

// TestADockerArchiveIsTheSameImageEachTime: its manifest is made on reading.
func TestADockerArchiveIsTheSameImageEachTime(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	img := b.Image("amd64", bigLayer, []byte("small"), bigLayer)
	var first []digest.Digest
	for range 2 {
		read := pull(t, resolver(s), at(s.AddFile(b.DockerArchive(img, "a:v1"))), "v1")
		if first = append(first, read[0]); first[0] != read[0] {
			t.Errorf("manifests %v", first)
		}
	}
}

func TestACompressedLayerOfADockerArchive(t *testing.T) {
	s := imagetest.NewStore()
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write([]byte("unpacked"))
	w.Close()
	config := imagetest.JSON(ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("unpacked")}}})
	files := map[string][]byte{"c.json": config, "l.tar": zipped.Bytes(), "manifest.json": []byte(`[{"Config":"c.json","Layers":["l.tar"]}]`)}
	read := pull(t, resolver(s), at(s.AddFile(imagetest.Tar(files))), "latest")
	if !slices.Contains(read, digest.FromBytes(zipped.Bytes())) {
		t.Errorf("read %v; want the layer as it lies there", read)
	}
	files["l.tar"] = append([]byte{}, zipped.Bytes()[:20]...)
	if _, err := resolver(s).Manifest(t.Context(), at(s.AddFile(imagetest.Tar(files))), "latest"); image.ClassOf(err) != image.NotImage {
		t.Errorf("a layer cut short gave %v", err)
	}
}

func TestALieInAnArchive(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	img := b.Image("amd64", bigLayer, []byte("small"))
	for _, dgst := range []digest.Digest{digest.FromBytes(bigLayer), digest.FromString("small")} {
		lying := imagetest.Blobs{}
		for d, data := range b {
			lying[d] = data
		}
		lie := bytes.Clone(b[dgst])
		lie[len(lie)-1]++
		lying[dgst] = lie
		p := at(s.AddFile(lying.OCIArchive(img)))
		r := resolver(s)
		for range 2 {
			if n, err := readTo(r, t, p, dgst, false); image.ClassOf(err) != image.Corrupt || n == int64(len(lie)) {
				t.Errorf("%d bytes of a lie, %v; want the class Corrupt", n, err)
			}
		}
	}
}

func TestStaticRegistryBesideAnOCILayout(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	one, two := b.Image("amd64", []byte("one")), b.Image("arm64", []byte("two"))
	root := b.Static(s, "team/app", imagetest.Tagged(one, "v1"), imagetest.Tagged(b.Index(two), "v2"))
	p := image.Path{Root: root, Rest: "team/app"}
	r := resolver(s)
	if tags, err := r.Tags(t.Context(), p); err != nil || !slices.Equal(tags, []string{"v1", "v2"}) {
		t.Errorf("the tags %v, %v", tags, err)
	}
	m, err := r.Manifest(t.Context(), p, "v2")
	if err != nil || m.Descriptor.MediaType != ocispec.MediaTypeImageIndex {
		t.Errorf("v2: %v, %v; want an index by its content", m, err)
	}
	for dgst := range b { // asked for by digest first
		pullBlob(t, resolver(s), p, dgst)
	}
	if _, err := r.Manifest(t.Context(), p, "latest"); image.ClassOf(err) != image.NotFound || !strings.Contains(err.Error(), "v1, v2") {
		t.Errorf("latest of two gave %v; want the tags", err)
	}
	_, err = r.Manifest(t.Context(), at(root), "latest")
	if image.ClassOf(err) != image.NotImage || !strings.Contains(err.Error(), "it is a static registry") || !strings.Contains(err.Error(), "entries index.html, team") {
		t.Errorf("the registry without a repository gave %v", err)
	}
	if _, err := r.Manifest(t.Context(), image.Path{Root: root, Rest: "other"}, "v1"); image.ClassOf(err) != image.NotFound {
		t.Errorf("a repository that is not there gave %v", err)
	}
}

// TestTheScriptsTagsList: it is no JSON, and the tags are told all the same.
func TestTheScriptsTagsList(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	img := b.Image("amd64", []byte("one"))
	m := s.AddFile(b[img.Digest])
	root := s.AddDir(map[string]cid.Cid{"v2/app/manifests/alpine": m, "v2/app/manifests/" + img.Digest.String(): m, "v2/app/tags/list": s.AddFile([]byte("alpine\n"))})
	p := image.Path{Root: root, Rest: "app"}
	if tags, err := resolver(s).Tags(t.Context(), p); err != nil || !slices.Equal(tags, []string{"alpine"}) {
		t.Errorf("the tags %v, %v; want alpine", tags, err)
	}
	pullManifest(t, resolver(s), p)
}

func pullBlob(t *testing.T, r *image.Resolver, p image.Path, dgst digest.Digest) {
	t.Helper()
	c, err := r.Blob(t.Context(), p, dgst)
	if err != nil {
		t.Fatal(err)
	}
	if digest.FromBytes(readAll(t, c)) != dgst {
		t.Errorf("%s is not what it says", dgst)
	}
}

func TestSchema1IsRefused(t *testing.T) {
	s := imagetest.NewStore()
	file := s.AddFile([]byte(imagetest.Schema1))
	for name, p := range map[string]image.Path{
		"static": {Root: s.AddDir(map[string]cid.Cid{"v2/app/manifests/latest": file, "v2/app/blobs/x": file}), Rest: "app"},
		"IPDR":   at(s.AddDir(map[string]cid.Cid{"manifests/latest": file, "blobs/x": file})),
		"bare":   at(file),
	} {
		if _, err := resolver(s).Manifest(t.Context(), p, "latest"); image.ClassOf(err) != image.NotImage || !strings.Contains(err.Error(), "schema 1") {
			t.Errorf("%s: %v; want the class NotImage and the reason", name, err)
		}
	}
}

func TestLayers(t *testing.T) {
	s := imagetest.NewStore()
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write(bigLayer)
	w.Close()
	dir := s.AddDir(map[string]cid.Cid{"a@b:c d.tar.gz": s.AddFile(zipped.Bytes())})
	m := imagetest.LayerManifest(ocispec.MediaTypeImageLayerGzip, zipped.Bytes(), map[string]string{image.AnnotationLayerCID: dir.String() + "/a@b:c d.tar.gz"})
	computed := pull(t, resolver(s), at(s.AddFile(imagetest.JSON(m))), "latest")
	m.Layer.Annotations[image.AnnotationLayerDiffID] = digest.FromBytes(bigLayer).String()
	said := pull(t, resolver(s), at(s.AddFile(imagetest.JSON(m))), "latest")
	if !slices.Equal(computed, said) {
		t.Errorf("computed %v; with the annotation %v", computed, said)
	}
	if tags, err := resolver(s).Tags(t.Context(), at(s.AddFile(imagetest.JSON(m)))); err != nil || !slices.Equal(tags, []string{"latest"}) {
		t.Errorf("the tags of a file whose name is no tag: %v, %v", tags, err)
	}
	change := func(f func(*image.LayerManifest)) cid.Cid {
		m := imagetest.LayerManifest(ocispec.MediaTypeImageLayer, bigLayer, map[string]string{image.AnnotationLayerCID: s.AddFile(bigLayer).String()})
		f(&m)
		return s.AddFile(imagetest.JSON(m))
	}
	for want, root := range map[string]cid.Cid{
		"of no layer":       change(func(m *image.LayerManifest) { m.Layer.MediaType = image.MediaTypeLayer }),
		"no CID":            change(func(m *image.LayerManifest) { m.Layer.Annotations[image.AnnotationLayerCID] = "x" }),
		"no path":           change(func(m *image.LayerManifest) { m.Layer.Annotations[image.AnnotationLayerCID] += "/../x" }),
		"sha256:x":          change(func(m *image.LayerManifest) { m.Layer.Digest = "sha256:x" }),
		"descriptor says 5": change(func(m *image.LayerManifest) { m.Layer.Size = 5 }),
		"unpacked layer":    change(func(m *image.LayerManifest) { m.Layer.Annotations[image.AnnotationLayerDiffID] = "sha256:x" }),
		"gzip":              change(func(m *image.LayerManifest) { m.Layer.MediaType = ocispec.MediaTypeImageLayerGzip }),
	} {
		if _, err := resolver(s).Manifest(t.Context(), at(root), "latest"); image.ClassOf(err) != image.NotImage || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want the class NotImage and %q", err, want)
		}
	}
	// A layer manifest for a layer is served as the bytes that it is.
	inner := imagetest.JSON(m)
	outer := imagetest.LayerManifest(ocispec.MediaTypeImageLayer, inner, map[string]string{image.AnnotationLayerCID: s.AddFile(inner).String()})
	if read := pull(t, resolver(s), at(s.AddFile(imagetest.JSON(outer))), "latest"); !slices.Contains(read, digest.FromBytes(inner)) {
		t.Errorf("read %v", read)
	}
}

// A layer manifest that leads to a layer manifest, or to a name of its own
// directory, ends there: it is no layer.
func TestALayerManifestOfALayerManifest(t *testing.T) {
	s := imagetest.NewStore()
	inner := imagetest.JSON(imagetest.LayerManifest(ocispec.MediaTypeImageLayer, []byte("x"), map[string]string{image.AnnotationLayerCID: s.AddFile([]byte("x")).String()}))
	dir := s.AddDir(map[string]cid.Cid{"layer.json": s.AddFile(inner)})
	for _, to := range []string{s.AddFile(inner).String(), dir.String() + "/layer.json"} {
		outer := s.AddFile(imagetest.JSON(imagetest.LayerManifest(ocispec.MediaTypeImageLayer, inner, map[string]string{image.AnnotationLayerCID: to})))
		if _, err := resolver(s).Manifest(t.Context(), at(outer), "latest"); err != nil && image.ClassOf(err) != image.NotImage {
			t.Errorf("%v", err)
		} else if err == nil {
			c, err := resolver(s).Blob(t.Context(), at(outer), digest.FromBytes(inner))
			if err != nil || !bytes.Equal(readAll(t, c), inner) {
				t.Errorf("%v; want the very bytes that the manifest names, followed no further", err)
			}
		}
	}
	self := imagetest.LayerManifest(ocispec.MediaTypeImageLayer, []byte("x"), map[string]string{image.AnnotationLayerCID: dir.String()})
	if _, err := resolver(s).Manifest(t.Context(), at(s.AddFile(imagetest.JSON(self))), "latest"); image.ClassOf(err) != image.NotImage {
		t.Errorf("a layer that is a directory gave %v", err)
	}
}

// A failure of our own, as of the disk, tells nothing of what an image is.
func TestAFailureIsNoVerdict(t *testing.T) {
	s := imagetest.NewStore()
	layer := s.AddFile(bigLayer)
	root := s.AddFile(imagetest.JSON(imagetest.LayerManifest(ocispec.MediaTypeImageLayer, bigLayer, map[string]string{image.AnnotationLayerCID: layer.String()})))
	full := failing{s, layer, &image.Error{Op: "open", Err: syscall.ENOSPC}}
	if _, err := resolver(full).Manifest(t.Context(), at(root), "latest"); !errors.Is(err, syscall.ENOSPC) || image.ClassOf(err) != 0 {
		t.Errorf("%v of the class %s; want that the disk is full", err, image.ClassOf(err))
	}
}

// failing can't open one of the files.
type failing struct {
	image.Source
	file cid.Cid
	err  error
}

func (f failing) Open(ctx context.Context, p image.Path) (image.File, error) {
	if p.Root == f.file {
		return nil, f.err
	}
	return f.Source.Open(ctx, p)
}

func TestHostileArchivesSayWhatTheyAre(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	img := b.Image("amd64", []byte("x"))
	good := b.OCIArchive(img)
	without := imagetest.Blobs{img.Digest: b[img.Digest]}
	for want, data := range map[string][]byte{
		"leads out of it":        imagetest.TarOf([]tar.Header{{Name: "../../etc/passwd"}}, nil),
		"twice":                  imagetest.TarOf([]tar.Header{{Name: "index.json"}, {Name: "./index.json"}}, nil),
		"neither a file nor":     imagetest.TarOf([]tar.Header{{Name: "a", Typeflag: tar.TypeChar}}, nil),
		"no whole tar archive":   good[:400],
		"ends within":            good[:len(good)-1536],
		"its entries are a, b":   imagetest.Tar(map[string][]byte{"a": nil, "b": nil}),
		"without the file index": imagetest.Tar(map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}),
		"without the file oci-l": imagetest.Tar(map[string][]byte{"index.json": []byte(`{}`)}),
		"sparse":                 sparse(),
		"its manifest.json is":   imagetest.Tar(map[string][]byte{"manifest.json": []byte("{")}),
		"4 MiB":                  imagetest.Tar(map[string][]byte{"manifest.json": make([]byte, 5<<20)}),
		"the entry \"c\"":        imagetest.Tar(map[string][]byte{"manifest.json": []byte(`[{"Config":"c"}]`)}),
		"link to a link":         imagetest.TarOf([]tar.Header{{Name: "c", Typeflag: tar.TypeSymlink, Linkname: "c"}, {Name: "manifest.json", Size: 16}}, map[string][]byte{"manifest.json": []byte(`[{"Config":"c"}]`)}),
	} {
		c := s.AddFile(data)
		if _, err := resolver(s).Manifest(t.Context(), at(c), "latest"); image.ClassOf(err) != image.NotImage || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), c.String()) {
			t.Errorf("%v; want the class NotImage, the CID and %q", err, want)
		}
	}
	p := at(s.AddFile(without.OCIArchive(img)))
	if _, err := resolver(s).Manifest(t.Context(), p, "latest"); err != nil {
		t.Error(err)
	}
	r := resolver(s)
	pullManifest(t, r, p)
	if _, err := r.Blob(t.Context(), p, digest.FromString("x")); image.ClassOf(err) != image.NotFound || !strings.Contains(err.Error(), "has no entry blobs/sha256/") {
		t.Errorf("a blob that the manifest names and the archive lacks gave %v", err)
	}
}

// sparse is an archive with an empty sparse file of GNU tar's own format.
func sparse() []byte {
	block := make([]byte, 512)
	copy(block, "index.json")
	copy(block[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00        S")
	copy(block[257:], "ustar  \x00")
	copy(block[483:], "00000000000\x00")
	sum := 0
	for _, c := range block {
		sum += int(c)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(block, make([]byte, 1024)...)
}

func TestNearlyAnImage(t *testing.T) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	img := b.Image("amd64", []byte("x"))
	index := s.AddFile(imagetest.JSON(ocispec.Index{Manifests: []ocispec.Descriptor{img}}))
	named := `{"layers":[{"digest":"` + string(img.Digest) + `","size":`
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	for want, root := range map[string]cid.Cid{
		"the size -1, which is not between":     s.AddFile([]byte(named + `-1}]}`)),
		"the size 1125899906842625, which is":   s.AddFile([]byte(named + `1125899906842625}]}`)),
		"of 256 bytes, and the longest":         s.AddFile([]byte(named + `1,"mediaType":` + long(256) + `}]}`)),
		"of 257 bytes, and the longest":         s.AddFile([]byte(named + `1,"artifactType":` + long(257) + `}]}`)),
		"of 258 bytes, and the longest":         s.AddFile([]byte(named + `1}],"artifactType":` + long(258) + `}`)),
		"it names the digest \"of no subject\"": s.AddFile([]byte(`{"layers":[],"subject":{"digest":"of no subject"}}`)),
		"without its file oci-layout":           s.AddDir(map[string]cid.Cid{"index.json": index, "blobs/sha256/x": index}),
		"it is an empty directory":              s.AddDir(map[string]cid.Cid{}),
		"with the entries v2 and without":       s.AddDir(map[string]cid.Cid{"v2": index}),
		"with the entries manifests and":        s.AddDir(map[string]cid.Cid{"manifests": index}),
		"a manifest and for an index":           s.AddFile([]byte(`{"config":{"digest":"` + string(img.Digest) + `"},"manifests":[]}`)),
		"neither a manifest nor an index":       s.AddFile([]byte(`{"mediaType":"text/plain","layers":[]}`)),
		"does not have what its media type":     s.AddFile([]byte(`{"mediaType":"` + ocispec.MediaTypeImageIndex + `","layers":[]}`)),
		"no descriptor: it lacks mediaType":     s.AddFile([]byte(`{}`)),
		"it names the digest \"sha256:short\"":  s.AddFile([]byte(`{"layers":[{"digest":"sha256:short"}]}`)),
	} {
		closing(t, s, func(t *testing.T) {
			if _, err := resolver(s).Manifest(t.Context(), at(root), "latest"); image.ClassOf(err) != image.NotImage || !strings.Contains(err.Error(), want) {
				t.Errorf("%v; want the class NotImage and %q", err, want)
			}
		})
	}
	delete(b, digest.FromString("x"))
	p, r := at(b.Layout(s, nil, img)), resolver(s)
	pullManifest(t, r, p)
	if _, err := r.Blob(t.Context(), p, digest.FromString("x")); image.ClassOf(err) != image.NotFound || !strings.Contains(err.Error(), "the image names it, but") {
		t.Errorf("a blob that is not in the directory gave %v", err)
	}
}

// FuzzArchive gives the resolver tar files that anybody could have made.
func FuzzArchive(f *testing.F) {
	b := imagetest.Blobs{}
	img := b.Image("amd64", []byte("x"))
	f.Add(b.OCIArchive(img))
	f.Add(b.DockerArchive(img, "a:v1"))
	f.Add(sparse())
	f.Fuzz(fuzzRoot)
}

// FuzzDocument gives the resolver JSON in each place where a form has some.
func FuzzDocument(f *testing.F) {
	b, s := imagetest.Blobs{}, imagetest.NewStore()
	img := b.Image("amd64", []byte("x"))
	f.Add(b[img.Digest])
	f.Add([]byte(imagetest.Schema1))
	f.Add(imagetest.JSON(imagetest.LayerManifest(ocispec.MediaTypeImageLayer, []byte("x"), map[string]string{image.AnnotationLayerCID: s.AddFile([]byte("x")).String()})))
	f.Add([]byte(`[{"Config":"x","Layers":["x"],"RepoTags":["a:v1"]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := imagetest.NewStore()
		c := s.AddFile(data)
		tarred := s.AddFile(imagetest.Tar(map[string][]byte{"manifest.json": data, "x": data}))
		static := s.AddDir(map[string]cid.Cid{"v2/a/manifests/latest": c, "v2/a/tags/list": c, "manifests/latest-v2": c, "manifests/latest": c})
		for _, p := range []image.Path{at(c), at(tarred), at(static), {Root: static, Rest: "a"}} {
			askAll(t, s, p, data)
		}
	})
}

func fuzzRoot(t *testing.T, data []byte) {
	s := imagetest.NewStore()
	askAll(t, s, at(s.AddFile(data)), data)
}

// askAll asks for all there is to ask for; what is answered has to be true, and
// what is not has to have a class.
func askAll(t *testing.T, s *imagetest.Store, p image.Path, data []byte) {
	r := resolver(s)
	for _, ref := range []string{"latest", digest.FromBytes(data).String()} {
		c, err := r.Manifest(t.Context(), p, ref)
		if err != nil && image.ClassOf(err) == 0 {
			t.Fatalf("%v has no class", err)
		}
		if err == nil && digest.FromBytes(readAll(t, c)) != c.Descriptor.Digest {
			t.Fatalf("%s answered with other bytes", ref)
		}
	}
	if _, err := r.Referrers(t.Context(), p, digest.FromString("x")); err != nil && image.ClassOf(err) == 0 {
		t.Fatalf("%v has no class", err)
	}
	if tags, err := r.Tags(t.Context(), p); err == nil {
		for _, tag := range tags {
			if !image.IsTag(tag) {
				t.Fatalf("the tag %q", tag)
			}
		}
	}
}
