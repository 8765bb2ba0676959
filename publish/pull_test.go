package publish_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// pull pulls the image at ref to a destination.
func pull(t *testing.T, images publish.Images, ref image.Reference, text string, o publish.PullOptions) (ocispec.Descriptor, error) {
	t.Helper()
	dest, err := publish.OpenDestination(t.Context(), text, publish.DestinationOptions{})
	if err != nil {
		t.Fatal(err)
	}
	desc, err := publish.Pull(t.Context(), images, ref, dest, o)
	if closeErr := dest.Close(); closeErr != nil {
		t.Error(closeErr)
	}
	return desc, err
}

func mustPull(t *testing.T, images publish.Images, ref image.Reference, text string, o publish.PullOptions) ocispec.Descriptor {
	t.Helper()
	desc, err := pull(t, images, ref, text, o)
	if err != nil {
		t.Fatal(err)
	}
	return desc
}

// TestPullGivesBackWhatWasPushed goes to IPFS and back again, and on again.
func TestPullGivesBackWhatWasPushed(t *testing.T) {
	b := imagetest.Blobs{}
	index, amd64, _ := multi(b)
	signature := b.Artifact(amd64, "application/vnd.example.signature", []byte("signed"))
	cosign := b.Image("", []byte("cosign's"))
	cosignTag := strings.Replace(index.Digest.String(), ":", "-", 1) + ".sig"
	roots := []ocispec.Descriptor{imagetest.Tagged(index, "v1"), signature, imagetest.Tagged(cosign, cosignTag)}
	pushed, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, roots...)), publish.PushOptions{})
	host := newRegistry(t, registry.WithReferrersSupport(true))
	for name, text := range map[string]string{
		"a new directory":      "oci:" + filepath.Join(t.TempDir(), "new"),
		"an empty directory":   "oci:" + t.TempDir(),
		"a directory by tag":   "oci:" + filepath.Join(t.TempDir(), "new") + ":v1",
		"an archive":           "oci-archive:" + filepath.Join(t.TempDir(), "a.tar"),
		"an archive by tag":    "oci-archive:" + filepath.Join(t.TempDir(), "a.tar") + ":v1",
		"a registry":           "docker://" + host + "/back:v1",
		"a registry, the same": "docker://" + host + "/back:v1",
	} {
		t.Run(name, func(t *testing.T) {
			desc := mustPull(t, s.resolver(), image.Reference{Path: image.Path{Root: pushed.Root}, Tag: "v1"}, text, publish.PullOptions{})
			if desc.Digest != index.Digest {
				t.Fatalf("pulled %s; want %s", desc.Digest, index.Digest)
			}
			again, s2 := push(t, text, publish.PushOptions{})
			if again.Root != pushed.Root {
				t.Errorf("pushed again as %s; want %s", again.Root, pushed.Root)
			}
			wantServed(t, s2, again.Root, index, b)
		})
	}
}

// TestPullOfNerdctlsFormLeavesItsBytes: manifests with URLs stay as they are.
func TestPullOfNerdctlsFormLeavesItsBytes(t *testing.T) {
	b := imagetest.Blobs{}
	index, _, _ := multi(b)
	pushed, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, index)), publish.PushOptions{Format: "nerdctl"})
	dir := filepath.Join(t.TempDir(), "new")
	desc := mustPull(t, s.resolver(), refTo(pushed), "oci:"+dir, publish.PullOptions{})
	if desc.Digest != pushed.Descriptor.Digest {
		t.Fatalf("pulled %s; want %s", desc.Digest, pushed.Descriptor.Digest)
	}
	data, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", desc.Digest.Encoded()))
	if err != nil || !strings.Contains(string(data), "ipfs://") || digest.FromBytes(data) != desc.Digest {
		t.Fatalf("%s, %v; want the manifest with its URLs", data, err)
	}
}

func TestPullToDocker(t *testing.T) {
	b := imagetest.Blobs{}
	index, amd64, arm64 := multi(b)
	pushed, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, index)), publish.PushOptions{})
	ref := refTo(pushed)
	for arch, want := range map[string]ocispec.Descriptor{"amd64": amd64, "arm64": arm64} {
		name := filepath.Join(t.TempDir(), "docker.tar")
		desc := mustPull(t, s.resolver(), ref, "docker-archive:"+name+":app", publish.PullOptions{Platforms: []ocispec.Platform{{OS: "linux", Architecture: arch}}})
		if desc.Digest != want.Digest {
			t.Errorf("%s: pulled %s; want %s", arch, desc.Digest, want.Digest)
		}
		again, _ := push(t, "docker-archive:"+name, publish.PushOptions{})
		if again.Descriptor.Digest != want.Digest || again.Tag != "latest" { // its layers are uncompressed, so nothing is lost
			t.Errorf("%s: the archive has %s with the tag %q; want %s, latest", arch, again.Descriptor.Digest, again.Tag, want.Digest)
		}
	}
	t.Run("the platform of this machine", func(t *testing.T) {
		b := imagetest.Blobs{}
		mine := b.Image(runtime.GOARCH, []byte("mine"))
		index := b.Index(forPlatform(b.Image("riscv32", []byte("other")), "riscv32"), forPlatform(mine, runtime.GOARCH))
		pushed, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, index)), publish.PushOptions{})
		if desc := mustPull(t, s.resolver(), refTo(pushed), "docker-archive:"+filepath.Join(t.TempDir(), "docker.tar"), publish.PullOptions{}); desc.Digest != mine.Digest {
			t.Errorf("pulled %s; want %s", desc.Digest, mine.Digest)
		}
	})
	t.Run("several platforms", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "docker.tar")
		_, err := pull(t, s.resolver(), ref, "docker-archive:"+name, publish.PullOptions{Platforms: []ocispec.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}})
		wantClass(t, err, image.Malformed, "--platform")
		wantEmpty(t, filepath.Dir(name))
	})
	t.Run("what Docker can't run", func(t *testing.T) {
		b := imagetest.Blobs{}
		artifact := b.Artifact(b.Image("amd64"), "application/vnd.example", []byte("no layer"))
		pushed, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, artifact)), publish.PushOptions{})
		name := filepath.Join(t.TempDir(), "docker.tar")
		_, err := pull(t, s.resolver(), refTo(pushed), "docker-archive:"+name, publish.PullOptions{})
		wantClass(t, err, image.NotImage, "oci:DIR")
		wantEmpty(t, filepath.Dir(name))
	})
}

// TestPullToDockerUnpacksZstd: engines before 23 don't.
func TestPullToDockerUnpacksZstd(t *testing.T) {
	layer := bytes.Repeat([]byte("layer"), 50_000)
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := imagetest.Blobs{}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{b.Add(ocispec.MediaTypeImageLayerZstd, z.EncodeAll(layer, nil))}}
	m.Config = b.AddJSON(ocispec.MediaTypeImageConfig, ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}}})
	pushed, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, b.AddJSON(ocispec.MediaTypeImageManifest, m))), publish.PushOptions{})
	name := filepath.Join(t.TempDir(), "docker.tar")
	mustPull(t, s.resolver(), refTo(pushed), "docker-archive:"+name+":app:v1", publish.PullOptions{})
	again, _ := push(t, "docker-archive:"+name+":app:v1", publish.PushOptions{}) // checks the layers against the config
	if want := int64(len(layer)); again.Size < want || again.Tag != "v1" {
		t.Errorf("%d bytes, the tag %q; want more than %d and v1", again.Size, again.Tag, want)
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestPullOfAPlatform leaves the others out.
func TestPullOfAPlatform(t *testing.T) {
	b := imagetest.Blobs{}
	index, amd64, arm64 := multi(b)
	amd := publish.PullOptions{Platforms: []ocispec.Platform{{OS: "linux", Architecture: "amd64"}}}
	whole, wholeSink := push(t, "oci:"+layoutDir(t, layoutFiles(b, index)), publish.PushOptions{})
	part, partSink := push(t, "oci:"+layoutDir(t, layoutFiles(b, index)), publish.PushOptions{Platforms: amd.Platforms})
	host := newRegistry(t)
	for name, from := range map[string]struct {
		pushed publish.Result
		sink   *sink
	}{"of an image that has others": {whole, wholeSink}, "of an image that has no other": {part, partSink}} {
		ref := image.Reference{Path: image.Path{Root: from.pushed.Root}}
		t.Run(name+" to a layout", func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			if desc := mustPull(t, from.sink.resolver(), ref, "oci:"+dir, amd); desc.Digest != index.Digest {
				t.Errorf("pulled %s; want the index as it is", desc.Digest)
			}
			again, s := push(t, "oci:"+dir, publish.PushOptions{})
			wantServed(t, s, again.Root, index, b, ownBlobs(b, arm64)...)
		})
		t.Run(name+" to a registry", func(t *testing.T) {
			if desc := mustPull(t, from.sink.resolver(), ref, "docker://"+host+"/part:v1", amd); desc.Digest != amd64.Digest {
				t.Errorf("pulled %s; want the manifest %s alone", desc.Digest, amd64.Digest)
			}
			again, _ := push(t, "docker://"+host+"/part:v1", publish.PushOptions{})
			if again.Descriptor.Digest != amd64.Digest {
				t.Errorf("the registry has %s; want %s", again.Descriptor.Digest, amd64.Digest)
			}
		})
	}
	t.Run("all of an image that has one", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "new")
		_, err := pull(t, partSink.resolver(), refTo(part), "oci:"+dir, publish.PullOptions{})
		wantClass(t, err, image.NotFound, "--platform")
		if _, err := os.Stat(filepath.Join(dir, "index.json")); err == nil {
			t.Error("an index.json was left")
		}
	})
	t.Run("one that the image has not", func(t *testing.T) {
		_, err := pull(t, wholeSink.resolver(), refTo(whole), "oci:"+filepath.Join(t.TempDir(), "new"),
			publish.PullOptions{Platforms: []ocispec.Platform{{OS: "linux", Architecture: "s390x"}}})
		wantClass(t, err, image.NotFound, "linux/s390x", "linux/amd64")
	})
}

// TestPullIntoALayoutKeepsTheOthers: a tag moves, other images stay.
func TestPullIntoALayoutKeepsTheOthers(t *testing.T) {
	b := imagetest.Blobs{}
	s := newSink()
	pushOne := func(layer string) image.Reference {
		src := open(t, "oci:"+layoutDir(t, layoutFiles(b, b.Image("amd64", []byte(layer)))), publish.SourceOptions{})
		result, err := publish.Push(t.Context(), src, s, publish.PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return image.Reference{Path: image.Path{Root: result.Root}}
	}
	one, two := pushOne("one"), pushOne("two")
	dir := filepath.Join(t.TempDir(), "new")
	first := mustPull(t, s.resolver(), one, "oci:"+dir+":v1", publish.PullOptions{})
	second := mustPull(t, s.resolver(), two, "oci:"+dir+":v2", publish.PullOptions{})
	moved := mustPull(t, s.resolver(), two, "oci:"+dir+":v3", publish.PullOptions{})
	mustPull(t, s.resolver(), one, "oci:"+dir+":v3", publish.PullOptions{})
	for tag, want := range map[string]digest.Digest{"v1": first.Digest, "v2": second.Digest, "v3": first.Digest} {
		if got := open(t, "oci:"+dir+":"+tag, publish.SourceOptions{}).Root().Digest; got != want {
			t.Errorf("%s is %s; want %s", tag, got, want)
		}
	}
	if moved.Digest != second.Digest {
		t.Errorf("%s; want %s", moved.Digest, second.Digest)
	}
}

// cut is Images whose blobs end early.
type cut struct{ publish.Images }

func (c cut) Blob(ctx context.Context, p image.Path, dgst digest.Digest) (*image.Content, error) {
	content, err := c.Images.Blob(ctx, p, dgst)
	if err == nil {
		content.File = cutFile{content.File}
	}
	return content, err
}

type cutFile struct{ image.File }

func (f cutFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p[:min(len(p), 3)])
	return n, errors.Join(err, &image.Error{Class: image.Unavailable, Op: "read", Err: errors.New("the peer has gone")})
}

func TestPullThatFailsLeavesNoHalf(t *testing.T) {
	b := imagetest.Blobs{}
	pushed, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, b.Image("amd64", []byte("a layer")))), publish.PushOptions{})
	ref := refTo(pushed)
	for _, form := range []string{"oci-archive:", "docker-archive:"} {
		t.Run(form, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "a.tar")
			_, err := pull(t, cut{s.resolver()}, ref, form+name, publish.PullOptions{})
			wantClass(t, err, image.Unavailable, "the peer has gone")
			wantEmpty(t, filepath.Dir(name))
			if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := pull(t, cut{s.resolver()}, ref, form+name, publish.PullOptions{}); err == nil {
				t.Fatal("no error")
			}
			if data, err := os.ReadFile(name); err != nil || string(data) != "old" {
				t.Errorf("the old file is %q, %v", data, err)
			}
			mustPull(t, s.resolver(), ref, form+name, publish.PullOptions{})
		})
	}
	t.Run("oci:", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "new")
		_, err := pull(t, cut{s.resolver()}, ref, "oci:"+dir, publish.PullOptions{})
		wantClass(t, err, image.Unavailable, "the peer has gone")
		if left, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*")); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		mustPull(t, s.resolver(), ref, "oci:"+dir, publish.PullOptions{})
	})
}

// TestAnArchiveFailsForOneReason: who writes an archive after a blob that broke
// off, which is whoever waited for that one, is told what broke it off.
func TestAnArchiveFailsForOneReason(t *testing.T) {
	for _, form := range []string{"oci-archive:", "docker-archive:"} {
		dest, err := publish.OpenDestination(t.Context(), form+filepath.Join(t.TempDir(), "a.tar"), publish.DestinationOptions{})
		if err != nil {
			t.Fatal(err)
		}
		why := &image.Error{Class: image.Unavailable, Op: "read", Err: errors.New("the peer has gone")}
		broken := io.MultiReader(strings.NewReader("a l"), iotest.ErrReader(why))
		for _, r := range []io.Reader{broken, strings.NewReader("a layer")} {
			desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString("a layer"), Size: 7}
			wantClass(t, dest.Put(t.Context(), desc, r), image.Unavailable, "the peer has gone")
		}
		if err := dest.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestArchivesAreTheSameEveryDay: no time, owner or mode gets into them.
func TestArchivesAreTheSameEveryDay(t *testing.T) {
	b := imagetest.Blobs{}
	pushed, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, b.Image("amd64"))), publish.PushOptions{})
	ref := refTo(pushed)
	for _, form := range []string{"oci-archive:", "docker-archive:"} {
		var found [][]byte
		for range 2 {
			name := filepath.Join(t.TempDir(), "a.tar")
			mustPull(t, s.resolver(), ref, form+name, publish.PullOptions{})
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, data)
		}
		if !bytes.Equal(found[0], found[1]) {
			t.Errorf("%s two archives of an image differ", form)
		}
	}
}

// TestDockerArchiveIsAsDockerLoadReadsIt reads manifest.json as the engine does.
func TestDockerArchiveIsAsDockerLoadReadsIt(t *testing.T) {
	b := imagetest.Blobs{}
	root := b.Image("amd64", []byte("one"), []byte("two"), []byte("one"))
	pushed, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, root)), publish.PushOptions{})
	name := filepath.Join(t.TempDir(), "a.tar")
	mustPull(t, s.resolver(), refTo(pushed), "docker-archive:"+name+":example.org/app", publish.PullOptions{})
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if entries[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(entries["manifest.json"], &manifest); err != nil || len(manifest) != 1 {
		t.Fatalf("%s, %v", entries["manifest.json"], err)
	}
	m := manifest[0]
	if !slices.Equal(m.RepoTags, []string{"example.org/app:latest"}) || len(m.Layers) != 3 || len(entries) != 4 {
		t.Fatalf("%+v in %d entries", m, len(entries))
	}
	for i, want := range []string{"one", "two", "one"} {
		if string(entries[m.Layers[i]]) != want {
			t.Errorf("layer %d is %q; want %q", i, entries[m.Layers[i]], want)
		}
	}
	if digest.FromBytes(entries[m.Config]).Encoded()+".json" != m.Config {
		t.Errorf("the config %s has other bytes", m.Config)
	}
}

func TestOpenDestinationRefuses(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, word := range map[string]string{
		"nothing":              "docker-archive:FILE",
		"docker-daemon:x":      "docker-archive:FILE",
		"oci:" + full:          "neither empty nor",
		"oci:x:no tag":         "is no tag",
		"oci-archive:x:no tag": "is no tag",
		"docker-archive:x:A?":  "is no image reference",
		"docker://x@sha256:" + strings.Repeat("0", 64): "no tag",
		"containerd:A?": "is no image reference",
	} {
		_, err := publish.OpenDestination(t.Context(), text, publish.DestinationOptions{})
		wantClass(t, err, image.Malformed, word)
	}
	for _, kind := range []string{"oci-archive:", "docker-archive:"} {
		if _, err := publish.OpenDestination(t.Context(), kind+full+"/no/such/dir/a.tar", publish.DestinationOptions{}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s in no directory: %v", kind, err)
		}
	}
	_, err := publish.OpenDestination(t.Context(), "containerd:x", publish.DestinationOptions{ContainerdAddress: full + "/none.sock"})
	wantClass(t, err, image.Unavailable, "none.sock", "--containerd-address")
}
