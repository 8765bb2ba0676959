package publish_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// TestPushPublishesNoLie pushes images that are not what they say.
func TestPushPublishesNoLie(t *testing.T) {
	const layer = "the true bytes"
	of := digest.FromString(layer)
	size := func(n int64) func(imagetest.Blobs, imagetest.Blobs) ocispec.Descriptor {
		return func(b, _ imagetest.Blobs) ocispec.Descriptor {
			l := b.Add(ocispec.MediaTypeImageLayer, []byte(layer))
			l.Size = n
			return b.AddJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest,
				Config: b.AddJSON(ocispec.MediaTypeImageConfig, ocispec.Image{}), Layers: []ocispec.Descriptor{l}})
		}
	}
	for _, test := range []struct {
		name  string
		build func(b, lies imagetest.Blobs) ocispec.Descriptor
		class image.Class
		words []string
	}{
		{"a layer with other bytes", func(b, lies imagetest.Blobs) ocispec.Descriptor {
			lies[of] = []byte("the false byte")
			return b.Image("amd64", []byte(layer))
		}, image.Corrupt, []string{of.String(), "another digest"}},
		{"a layer cut short", func(b, lies imagetest.Blobs) ocispec.Descriptor {
			lies[of] = []byte("the true")
			return b.Image("amd64", []byte(layer))
		}, image.Corrupt, []string{of.String(), "has 8 bytes"}},
		{"a descriptor that says less", size(5), image.Corrupt, []string{of.String()}},
		{"a descriptor that says more", size(1 << 40), image.Corrupt, []string{of.String()}},
		{"a descriptor of less than nothing", size(-1), image.NotImage, []string{of.String()}},
		{"two descriptors that contradict each other", func(b, _ imagetest.Blobs) ocispec.Descriptor {
			l := b.Add(ocispec.MediaTypeImageLayer, []byte(layer))
			other := l
			other.Size++
			return b.AddJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
				Config: b.AddJSON(ocispec.MediaTypeImageConfig, ocispec.Image{}), Layers: []ocispec.Descriptor{l, other}})
		}, image.Corrupt, []string{of.String()}},
		{"a manifest with other bytes", func(b, lies imagetest.Blobs) ocispec.Descriptor {
			m := b.Image("amd64", []byte(layer))
			lies[m.Digest] = bytes.Repeat([]byte(" "), int(m.Size))
			return m
		}, image.Corrupt, []string{"another digest"}},
		{"a manifest that is none", func(b, _ imagetest.Blobs) ocispec.Descriptor {
			return b.Add(ocispec.MediaTypeImageManifest, []byte("hello"))
		}, image.NotImage, []string{"no JSON manifest"}},
		{"a manifest above 4 MiB", func(b, _ imagetest.Blobs) ocispec.Descriptor {
			return b.Add(ocispec.MediaTypeImageManifest, append([]byte(`{"layers":[]}`), bytes.Repeat([]byte(" "), 4<<20)...))
		}, image.NotImage, []string{"4194317 bytes"}},
		{"an index that is a manifest as well", func(b, _ imagetest.Blobs) ocispec.Descriptor {
			return b.Add(ocispec.MediaTypeImageIndex, []byte(`{"manifests":[],"layers":[]}`))
		}, image.NotImage, []string{"config or layers"}},
		{"a manifest that says it is an index", func(b, _ imagetest.Blobs) ocispec.Descriptor {
			return b.Add(ocispec.MediaTypeImageManifest, []byte(`{"mediaType":"`+ocispec.MediaTypeImageIndex+`"}`))
		}, image.NotImage, []string{"its descriptor says"}},
		{"Docker's schema 1", func(b, _ imagetest.Blobs) ocispec.Descriptor {
			return b.Add("application/vnd.docker.distribution.manifest.v1+prettyjws", []byte(`{}`))
		}, image.NotImage, []string{"v1+prettyjws", "schema 2"}},
		{"a digest that is none", func(b, _ imagetest.Blobs) ocispec.Descriptor {
			return b.Add(ocispec.MediaTypeImageIndex, []byte(`{"manifests":[{"mediaType":"`+ocispec.MediaTypeImageManifest+`","digest":"sha256:../../../etc/passwd","size":1}]}`))
		}, image.NotImage, []string{"../etc/passwd"}},
		{"indexes nested a hundred times", func(b, _ imagetest.Blobs) ocispec.Descriptor {
			desc := b.Image("amd64", []byte(layer))
			for range 100 {
				desc = b.Index(desc)
			}
			return desc
		}, image.NotImage, []string{"deeper than 8"}},
		{"more digests than can be served", func(b, _ imagetest.Blobs) ocispec.Descriptor {
			m := ocispec.Manifest{Config: b.AddJSON(ocispec.MediaTypeImageConfig, ocispec.Image{})}
			for i := range 4096 {
				m.Layers = append(m.Layers, b.Add(ocispec.MediaTypeImageLayer, fmt.Append(nil, i)))
			}
			return b.AddJSON(ocispec.MediaTypeImageManifest, m)
		}, image.NotImage, []string{"more than 4096 digests"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, lies := imagetest.Blobs{}, imagetest.Blobs{}
			root := test.build(b, lies)
			for dgst, lie := range lies {
				b[dgst] = lie
			}
			for _, format := range []string{"layout", "nerdctl"} {
				s := newSink()
				src := open(t, "oci-archive:"+archiveOf(t, layoutFiles(b, root)), publish.SourceOptions{})
				_, err := publish.Push(t.Context(), src, s, publish.PushOptions{Format: format})
				wantClass(t, err, test.class, test.words...)
				if len(s.pins) != 0 {
					t.Errorf("published %v", s.pins)
				}
			}
		})
	}
}

func TestOpenSourceRefusesBadLayouts(t *testing.T) {
	b := imagetest.Blobs{}
	one, two := b.Image("amd64"), b.Image("arm64")
	with := func(name, data string) map[string][]byte {
		files := layoutFiles(b, one)
		files[name] = []byte(data)
		return files
	}
	without := layoutFiles(b, one)
	delete(without, "index.json")
	for _, test := range []struct {
		name  string
		files map[string][]byte
		ref   string
		class image.Class
		word  string
	}{
		{"an empty directory", nil, "", image.NotImage, "oci-layout"},
		{"no index", without, "", image.NotImage, "index.json"},
		{"another version", with("oci-layout", `{"imageLayoutVersion":"2.0.0"}`), "", image.NotImage, `"2.0.0"`},
		{"an index that is none", with("index.json", `[]`), "", image.NotImage, "index.json"},
		{"an index above 4 MiB", with("index.json", strings.Repeat(" ", 4<<20+1)), "", image.NotImage, "more than 4194304 bytes"},
		{"an index with a digest that is none", with("index.json", `{"manifests":[{"digest":"sha256:1"}]}`), "", image.NotImage, "sha256:1"},
		{"an index without images", with("index.json", `{"manifests":[]}`), "", image.NotFound, "has the images"},
		{"a tag that it has not", layoutFiles(b, imagetest.Tagged(one, "v1")), "v2", image.NotFound, `"v1"`},
		{"several images and no tag", layoutFiles(b, imagetest.Tagged(one, "v1"), imagetest.Tagged(two, "v2")), "", image.NotFound, `"v2"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, text := range []string{"oci:" + layoutDir(t, test.files), "oci-archive:" + archiveOf(t, test.files)} {
				if test.files == nil && strings.HasPrefix(text, "oci-archive:") {
					continue // an archive without entries has an error of its own
				}
				if test.ref != "" {
					text += ":" + test.ref
				}
				_, err := publish.OpenSource(t.Context(), text, publish.SourceOptions{})
				wantClass(t, err, test.class, test.word)
			}
		})
	}
}

// TestOpenSourceWaitsForNoPipe: a pipe in the place of a file has no writer.
func TestOpenSourceWaitsForNoPipe(t *testing.T) {
	b := imagetest.Blobs{}
	files := layoutFiles(b, b.Image("amd64"))
	delete(files, "index.json")
	dir := layoutDir(t, files)
	pipe := filepath.Join(dir, "index.json")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"oci:" + dir, "oci-archive:" + pipe, "docker-archive:" + pipe} {
		if _, err := publish.OpenSource(t.Context(), text, publish.SourceOptions{}); err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("%s: %v; want an error that tells of no regular file", text, err)
		}
	}
}

func TestOpenSourceRefusesHostileArchives(t *testing.T) {
	b := imagetest.Blobs{}
	var good []file
	for name, data := range layoutFiles(b, b.Image("amd64", bytes.Repeat([]byte("x"), 5000))) {
		good = append(good, regular(name, data))
	}
	of := func(more ...file) []byte { return tarBytes(t, append(more, good...)...) }
	whole := of()
	for _, test := range []struct {
		name string
		data []byte
		word string
	}{
		{"nothing", nil, "no whole tar"},
		{"no archive", bytes.Repeat([]byte("text "), 1000), "no whole tar"},
		{"a compressed one", append([]byte{0x1f, 0x8b, 8}, whole...), "uncompressed"},
		{"a cut one", whole[:len(whole)/2], ""},
		{"a name that leads out", of(regular("../../etc/passwd", nil)), "leads out"},
		{"a name that leads out from below", of(regular("blobs/../../x", nil)), "leads out"},
		{"an entry twice", of(regular("index.json", []byte(`{}`))), "twice"},
		{"an entry twice by other names", of(regular("/./index.json", []byte(`{}`))), "twice"},
		{"a device", of(file{Header: tar.Header{Name: "dev", Typeflag: tar.TypeChar}}), "neither a file"},
		{"a pipe", of(file{Header: tar.Header{Name: "dev", Typeflag: tar.TypeFifo}}), "neither a file"},
		{"a sparse file", sparse(whole), "sparse"},
		{"a link to itself", tarBytes(t, link("oci-layout", "oci-layout")), "link to a link"},
		{"a link that leads out", tarBytes(t, link("oci-layout", "../../../etc/hostname")), "no file oci-layout"},
		{"a link to the machine's files", tarBytes(t, link("oci-layout", "/etc/hostname")), "no file oci-layout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "a.tar")
			if err := os.WriteFile(name, test.data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := publish.OpenSource(t.Context(), "oci-archive:"+name, publish.SourceOptions{})
			wantClass(t, err, image.NotImage, test.word)
		})
	}
	t.Run("none", func(t *testing.T) {
		_, err := publish.OpenSource(t.Context(), "oci-archive:"+t.TempDir()+"/nothing.tar", publish.SourceOptions{})
		wantClass(t, err, image.NotFound, "nothing.tar")
	})
}

func link(name, target string) file {
	return file{Header: tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}}
}

// sparse is an archive that begins with a sparse file of the old GNU format.
func sparse(rest []byte) []byte {
	h := make([]byte, 512)
	copy(h, "hole")
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:], "00000000000\x0000000000000\x00")
	h[156] = 'S'
	copy(h[257:], "ustar  \x00")
	copy(h[483:], "00000010000\x00") // the real size
	copy(h[148:], "        ")
	var sum int
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(h, rest...)
}
