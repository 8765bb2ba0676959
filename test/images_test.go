package test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// greeting is what the containers under test print.
const greeting = "greetings from a content address"

// images are the images under test, as OCI image layouts that are made once a
// machine. Their names end in a version to change when they change.
type images struct {
	real     layout // Debian with Python, three layers, above 100 MB
	multi    layout // linux/amd64 and linux/arm64
	artifact layout // an image that two artifacts refer to
	scratch  layout // one layer, one program
}

// layout is an OCI image layout and what the tag v1 in it is.
type layout struct {
	dir  string
	desc ocispec.Descriptor
}

const imageTag = "v1"

func testImages(t testing.TB) *images {
	t.Helper()
	return shared.images.get(t, "make the images", makeImages)
}

func makeImages() (*images, error) {
	i := &images{}
	for _, image := range []struct {
		name string
		to   *layout
		make func(*layoutWriter) error
	}{
		{"real-1", &i.real, makeReal},
		{"multi-1", &i.multi, makeMulti},
		{"artifact-1", &i.artifact, makeArtifact},
		{"scratch-1", &i.scratch, makeScratch},
	} {
		dir := filepath.Join(shared.cache, "images", image.name)
		if _, err := os.Stat(dir); err != nil {
			if err := makeLayout(dir, image.make); err != nil {
				return nil, fmt.Errorf("%s: %w", image.name, err)
			}
		}
		desc, err := rootOf(dir)
		if err != nil {
			return nil, err
		}
		*image.to = layout{dir, desc}
	}
	return i, nil
}

// makeLayout makes a whole layout or none.
func makeLayout(dir string, make func(*layoutWriter) error) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	w := &layoutWriter{dir: tmp}
	if err := make(w); err != nil {
		return err
	}
	if err := w.finish(); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

func rootOf(dir string) (ocispec.Descriptor, error) {
	data, err := os.ReadFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, desc := range index.Manifests {
		if desc.Annotations[ocispec.AnnotationRefName] == imageTag {
			return desc, nil
		}
	}
	return ocispec.Descriptor{}, fmt.Errorf("%s has no %s", dir, imageTag)
}

// manifest reads the manifest of an image that is no index.
func (l layout) manifest(t testing.TB) ocispec.Manifest {
	t.Helper()
	data, err := os.ReadFile(l.blob(l.desc.Digest))
	if err != nil {
		t.Fatal(err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func (l layout) blob(dgst digest.Digest) string {
	return filepath.Join(l.dir, ocispec.ImageBlobsDir, dgst.Algorithm().String(), dgst.Encoded())
}

// spec is the source that push takes.
func (l layout) spec() string { return "oci:" + l.dir + ":" + imageTag }

func makeReal(w *layoutWriter) error {
	root := filepath.Join(shared.dir, "rootfs")
	defer os.RemoveAll(root)
	debootstrap := exec.Command("debootstrap", "--variant=minbase", "--include=python3", "bookworm", root)
	if out, err := debootstrap.CombinedOutput(); err != nil {
		return fmt.Errorf("debootstrap: %w\n%s", err, out)
	}
	base, err := w.layer(func(out io.Writer) error {
		tar := exec.Command("tar", "--sort=name", "--mtime=@0", "--numeric-owner", "-C", root, "-c", ".")
		tar.Stdout = out
		return tar.Run()
	})
	if err != nil {
		return err
	}
	random := make([]byte, 12<<20)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(random); err != nil {
		return err
	}
	data, err := w.layer(files{"srv/random": {random, 0o644}, "srv/about": {[]byte("twelve megabytes that do not compress\n"), 0o644}}.write)
	if err != nil {
		return err
	}
	program := "#!/usr/bin/python3\nprint('" + greeting + "')\n"
	greet, err := w.layer(files{"usr/local/bin/greet": {[]byte(program), 0o755}}.write)
	if err != nil {
		return err
	}
	m, err := w.image(platform("amd64"), []string{"/usr/local/bin/greet"}, base, data, greet)
	return w.tag(m, err)
}

// busyboxLayer is a layer with one static program.
func (w *layoutWriter) busyboxLayer() (layer, error) {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return layer{}, err
	}
	return w.layer(files{"bin/busybox": {busybox, 0o755}, "bin/sh": {busybox, 0o755}, "bin/cat": {busybox, 0o755}}.write)
}

func makeScratch(w *layoutWriter) error {
	l, err := w.busyboxLayer()
	if err != nil {
		return err
	}
	m, err := w.image(platform("amd64"), []string{"/bin/busybox", "echo", greeting}, l)
	return w.tag(m, err)
}

func makeMulti(w *layoutWriter) error {
	l, err := w.busyboxLayer()
	if err != nil {
		return err
	}
	amd, err := w.image(platform("amd64"), []string{"/bin/busybox", "echo", greeting}, l)
	if err != nil {
		return err
	}
	other, err := w.layer(files{"bin/greet": {[]byte("not for this machine"), 0o755}}.write)
	if err != nil {
		return err
	}
	arm, err := w.image(platform("arm64"), []string{"/bin/greet"}, other)
	if err != nil {
		return err
	}
	index, err := w.addJSON(ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{amd, arm}})
	return w.tag(index, err)
}

func makeArtifact(w *layoutWriter) error {
	if err := makeScratch(w); err != nil {
		return err
	}
	subject := w.index.Manifests[0]
	subject.Annotations = nil
	for _, kind := range []string{"sbom", "signature"} {
		blob, err := w.add("text/plain", []byte("a "+kind))
		if err != nil {
			return err
		}
		empty, err := w.add(ocispec.MediaTypeEmptyJSON, []byte("{}"))
		if err != nil {
			return err
		}
		m, err := w.addJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			ArtifactType: "application/vnd.example." + kind, Config: empty, Layers: []ocispec.Descriptor{blob}, Subject: &subject,
		})
		if err != nil {
			return err
		}
		w.index.Manifests = append(w.index.Manifests, m)
	}
	return nil
}

func platform(arch string) ocispec.Platform { return ocispec.Platform{OS: "linux", Architecture: arch} }

// layoutWriter writes an OCI image layout.
type layoutWriter struct {
	dir   string
	index ocispec.Index
}

type layer struct {
	desc   ocispec.Descriptor
	diffID digest.Digest
}

// layer compresses what write writes.
func (w *layoutWriter) layer(write func(io.Writer) error) (layer, error) {
	diff := digest.SHA256.Digester()
	desc, err := w.stream(ocispec.MediaTypeImageLayerGzip, func(out io.Writer) error {
		zip := gzip.NewWriter(out)
		if err := write(io.MultiWriter(zip, diff.Hash())); err != nil {
			return err
		}
		return zip.Close()
	})
	return layer{desc, diff.Digest()}, err
}

// randomLayer is a layer that is not compressed, of one file of random bytes.
func (w *layoutWriter) randomLayer(size int64) (layer, error) {
	desc, err := w.stream(ocispec.MediaTypeImageLayer, func(out io.Writer) error {
		w := tar.NewWriter(out)
		if err := w.WriteHeader(&tar.Header{Name: "random", Mode: 0o644, Size: size, Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := io.CopyN(w, rand.NewChaCha8([32]byte{2}), size); err != nil {
			return err
		}
		return w.Close()
	})
	return layer{desc, desc.Digest}, err
}

func (w *layoutWriter) image(p ocispec.Platform, entrypoint []string, layers ...layer) (ocispec.Descriptor, error) {
	config := ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers"},
		Config: ocispec.ImageConfig{Entrypoint: entrypoint, Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
		config.History = append(config.History, ocispec.History{CreatedBy: "the tests"})
		m.Layers = append(m.Layers, l.desc)
	}
	var err error
	if m.Config, err = w.addJSON(ocispec.MediaTypeImageConfig, config); err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, err := w.addJSON(ocispec.MediaTypeImageManifest, m)
	desc.Platform = &p
	return desc, err
}

func (w *layoutWriter) addJSON(mediaType string, v any) (ocispec.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return w.add(mediaType, data)
}

func (w *layoutWriter) add(mediaType string, data []byte) (ocispec.Descriptor, error) {
	return w.stream(mediaType, func(out io.Writer) error {
		_, err := out.Write(data)
		return err
	})
}

// stream adds a blob of what write writes.
func (w *layoutWriter) stream(mediaType string, write func(io.Writer) error) (ocispec.Descriptor, error) {
	dir := filepath.Join(w.dir, ocispec.ImageBlobsDir, "sha256")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return ocispec.Descriptor{}, err
	}
	f, err := os.CreateTemp(dir, "new-")
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer f.Close()
	hash := digest.SHA256.Digester()
	if err := write(io.MultiWriter(f, hash.Hash())); err != nil {
		return ocispec.Descriptor{}, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := f.Chmod(0o644); err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: hash.Digest(), Size: size}
	return desc, os.Rename(f.Name(), filepath.Join(dir, desc.Digest.Encoded()))
}

// tag takes the results of what made the image.
func (w *layoutWriter) tag(desc ocispec.Descriptor, err error) error {
	if err != nil {
		return err
	}
	desc.Annotations = map[string]string{ocispec.AnnotationRefName: imageTag}
	w.index.Manifests = append(w.index.Manifests, desc)
	return nil
}

func (w *layoutWriter) finish() error {
	w.index.SchemaVersion, w.index.MediaType = 2, ocispec.MediaTypeImageIndex
	index, err := json.Marshal(w.index)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, ocispec.ImageIndexFile), index, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.dir, ocispec.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

// files are the contents of a layer. It has entries for their directories too:
// podman, which pulls the files of a layer side by side, needs them.
type files map[string]struct {
	data []byte
	mode int64
}

func (f files) write(out io.Writer) error {
	w := tar.NewWriter(out)
	for _, dir := range f.dirs() {
		if err := w.WriteHeader(&tar.Header{Name: dir + "/", Mode: 0o755, Typeflag: tar.TypeDir}); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: f[name].mode, Size: int64(len(f[name].data)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := io.Copy(w, bytes.NewReader(f[name].data)); err != nil {
			return err
		}
	}
	return w.Close()
}

// dirs are the directories of the files, each after those above it.
func (f files) dirs() []string {
	all := map[string]bool{}
	for name := range f {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			all[dir] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// A layout is what the other tools say it is.
func TestTheImagesAreImages(t *testing.T) {
	i := testImages(t)
	for name, l := range map[string]layout{"real": i.real, "multi": i.multi, "artifact": i.artifact, "scratch": i.scratch} {
		out := must(t, command(context.Background(), "skopeo", "inspect", "--raw", "oci:"+l.dir+":"+imageTag))
		if digest.FromString(out) != l.desc.Digest {
			t.Errorf("%s: skopeo reads another manifest than %s", name, l.desc.Digest)
		}
	}
	m, size := i.real.manifest(t), int64(0)
	for _, l := range m.Layers {
		size += l.Size
	}
	if len(m.Layers) < 3 || size < 100<<20 {
		t.Errorf("the real image has %d layers and %d bytes; want 3 and 100 MiB", len(m.Layers), size)
	}
}
