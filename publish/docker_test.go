package publish_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// saved is an image as "docker save" of engines before 25 lays it out: a
// directory for each layer, and a link where two layers are the same.
type saved struct {
	config []byte
	layers [][]byte
	names  []string
}

func newSaved(layers ...string) *saved {
	s := &saved{names: []string{"example.org/some/image:v1"}}
	var ids []digest.Digest
	for _, layer := range layers {
		s.layers = append(s.layers, []byte(layer))
		ids = append(ids, digest.FromString(layer))
	}
	// An order of keys, and a space, that no encoder here would make.
	s.config = []byte(`{"os":"linux", "architecture":"amd64","rootfs":{"diff_ids":` + string(imagetest.JSON(ids)) + `,"type":"layers"}}`)
	return s
}

func (s *saved) files() []file {
	var all []file
	var names []string
	first := map[string]string{}
	for i, layer := range s.layers {
		dir := strings.Repeat(string(rune('a'+i)), 64)
		names = append(names, dir+"/layer.tar")
		all = append(all, file{Header: tar.Header{Name: dir + "/", Typeflag: tar.TypeDir}}, regular(dir+"/VERSION", []byte("1.0")))
		if other, ok := first[string(layer)]; ok {
			all = append(all, link(dir+"/layer.tar", "../"+other))
			continue
		}
		first[string(layer)] = dir + "/layer.tar"
		all = append(all, regular(dir+"/layer.tar", layer))
	}
	config := digest.FromBytes(s.config).Encoded() + ".json"
	manifest := imagetest.JSON([]any{map[string]any{"Config": config, "RepoTags": s.names, "Layers": names}})
	return append(all, regular(config, s.config), regular("manifest.json", manifest), regular("repositories", []byte(`{}`)))
}

func zipped(data string) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write([]byte(data))
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func TestPushFromDockerArchive(t *testing.T) {
	old := newSaved("one", "two", "one")
	compressed := newSaved("one", "two")
	compressed.layers[1] = zipped("two")
	for _, test := range []struct {
		name   string
		saved  *saved
		ref    string
		tag    string
		layers []string
	}{
		{"with a link", old, "", "v1", []string{ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayer}},
		{"by tag", old, ":v1", "v1", []string{ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayer}},
		{"by name", old, ":example.org/some/image:v1", "v1", []string{ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayer}},
		{"with a compressed layer", compressed, "", "v1", []string{ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip}},
	} {
		t.Run(test.name, func(t *testing.T) {
			result, s := push(t, "docker-archive:"+writeArchive(t, test.saved.files()...)+test.ref, publish.PushOptions{})
			b := imagetest.Blobs{}
			m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: b.Add(ocispec.MediaTypeImageConfig, test.saved.config)}
			m.SchemaVersion = 2
			for i, layer := range test.saved.layers {
				m.Layers = append(m.Layers, b.Add(test.layers[i], layer))
			}
			if result.Tag != test.tag {
				t.Errorf("the tag %q; want %q", result.Tag, test.tag)
			}
			wantServed(t, s, result.Root, b.AddJSON(ocispec.MediaTypeImageManifest, m), b)
		})
	}
}

func TestPushFromDockerArchiveOfEngine25KeepsDigests(t *testing.T) {
	b := imagetest.Blobs{}
	root := b.Image("amd64", []byte("layer"))
	root.Annotations = map[string]string{"io.containerd.image.name": "docker.io/library/app:v2", ocispec.AnnotationRefName: "v2"}
	files := layoutFiles(b, root)
	files["manifest.json"] = []byte(`[{"Config":"blobs/sha256/x","RepoTags":["app:v2"],"Layers":[]}]`)
	text := "docker-archive:" + archiveOf(t, files)
	for _, ref := range []string{"", ":app:v2", ":v2", ":docker.io/library/app:v2"} {
		result, s := push(t, text+ref, publish.PushOptions{})
		if result.Tag != "v2" {
			t.Errorf("%q: the tag %q; want v2", ref, result.Tag)
		}
		wantServed(t, s, result.Root, root, b)
	}
}

func TestOpenSourceRefusesBadDockerArchives(t *testing.T) {
	change := func(name, data string) []file {
		files := newSaved("one", "two").files()
		for i := range files {
			if files[i].Name == name || strings.HasSuffix(files[i].Name, name) {
				files[i].data = []byte(data)
				return files
			}
		}
		panic("no entry " + name)
	}
	swapped := newSaved("one", "two")
	swapped.layers[0], swapped.layers[1] = swapped.layers[1], swapped.layers[0]
	fewer := newSaved("one", "two")
	fewer.layers = fewer.layers[:1]
	bomb := newSaved("one")
	bomb.layers[0] = zipped("one")[:12]
	for _, test := range []struct {
		name  string
		files []file
		ref   string
		class image.Class
		word  string
	}{
		{"no manifest.json", []file{regular("a", nil)}, "", image.NotImage, "neither manifest.json"},
		{"a manifest.json that is none", change("manifest.json", "{"), "", image.NotImage, "manifest.json"},
		{"a manifest.json above 4 MiB", change("manifest.json", strings.Repeat(" ", 4<<20+1)), "", image.NotImage, "more than"},
		{"no image", change("manifest.json", "[]"), "", image.NotFound, "0 of its images"},
		{"an image without a config", change("manifest.json", "[{}]"), "", image.NotImage, "without a config"},
		{"a config that leads out", change("manifest.json", `[{"Config":"../../etc/hostname"}]`), "", image.NotImage, "config"},
		{"two images", change("manifest.json", `[{"Config":"a","RepoTags":["a:1"]},{"Config":"b","RepoTags":["b:1"]}]`), "", image.NotFound, `"b:1"`},
		{"another name", newSaved("one").files(), ":other:v1", image.NotFound, "example.org/some/image:v1"},
		{"a config of another digest", change(".json", `{"rootfs":{}}`), "", image.Corrupt, "has the digest"},
		{"a layer with other bytes", change("/layer.tar", "eno"), "", image.Corrupt, "another digest"},
		{"layers in another order", swapped.files(), "", image.Corrupt, "another digest"},
		{"a layer too few", fewer.files(), "", image.Corrupt, "1 layers"},
		{"a compressed layer cut short", bomb.files(), "", image.NotImage, "layer.tar"},
	} {
		t.Run(test.name, func(t *testing.T) {
			src, err := publish.OpenSource(t.Context(), "docker-archive:"+writeArchive(t, test.files...)+test.ref, publish.SourceOptions{})
			if err == nil { // what only reading the layers shows
				defer src.Close()
				_, err = publish.Push(t.Context(), src, newSink(), publish.PushOptions{})
			}
			wantClass(t, err, test.class, test.word)
		})
	}
}

// engine is the part of Docker's API that saves images, on a Unix socket.
func engine(t *testing.T, images map[string][]byte) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/images/"), "/get")
		data, ok := images[name+r.URL.Query().Get("platform")]
		if r.Method != http.MethodGet || !ok {
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(map[string]string{"message": "No such image: " + name}) // as the engine says it
			return
		}
		_, _ = io.Copy(w, bytes.NewReader(data))
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return "unix://" + socket
}

func TestPushFromDockerDaemon(t *testing.T) {
	archive := tarBytes(t, newSaved("one", "two").files()...)
	other := tarBytes(t, newSaved("three").files()...)
	host := engine(t, map[string][]byte{"app:latest": archive, "example.org/team/app:v1": archive, "cut:latest": archive[:2000],
		`app:latest{"architecture":"arm64","os":"linux"}`: other})
	temp := t.TempDir()
	o := publish.SourceOptions{DockerHost: host, TempDir: temp}
	want, _ := push(t, "docker-archive:"+writeArchive(t, newSaved("one", "two").files()...), publish.PushOptions{})
	for _, name := range []string{"app", "app:latest", "docker.io/library/app", "example.org/team/app:v1"} {
		src := open(t, "docker-daemon:"+name, o)
		result, err := publish.Push(t.Context(), src, newSink(), publish.PushOptions{})
		if err != nil || result.Root != want.Root {
			t.Errorf("%s: %v, %v; want %v", name, result.Root, err, want.Root)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind while open: %v, %v", left, err)
	}
	t.Run("a platform", func(t *testing.T) {
		o := o
		o.Platforms = []ocispec.Platform{{OS: "linux", Architecture: "arm64"}}
		if src := open(t, "docker-daemon:app", o); src.Root().Digest == want.Descriptor.Digest {
			t.Error("got the image of another platform")
		}
	})
	t.Run("none", func(t *testing.T) {
		_, err := publish.OpenSource(t.Context(), "docker-daemon:nothing", o)
		wantClass(t, err, image.NotFound, "No such image: nothing:latest")
	})
	t.Run("cut short", func(t *testing.T) {
		_, err := publish.OpenSource(t.Context(), "docker-daemon:cut", o)
		wantClass(t, err, image.NotImage, "docker-daemon:cut")
	})
	t.Run("no engine", func(t *testing.T) {
		_, err := publish.OpenSource(t.Context(), "docker-daemon:app", publish.SourceOptions{DockerHost: "unix://" + temp + "/none"})
		wantClass(t, err, image.Unavailable, "DOCKER_HOST")
	})
	t.Run("an address of another kind", func(t *testing.T) {
		_, err := publish.OpenSource(t.Context(), "docker-daemon:app", publish.SourceOptions{DockerHost: "ssh://host"})
		wantClass(t, err, image.Malformed, "ssh://host", "unix:///PATH")
	})
}
