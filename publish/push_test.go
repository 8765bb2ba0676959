package publish_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/ipfs/go-cid"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// places puts an image everywhere that a Source in this process can be.
func places(t *testing.T, b imagetest.Blobs, root ocispec.Descriptor) map[string]string {
	files := layoutFiles(b, imagetest.Tagged(root, "v1"))
	host := newRegistry(t)
	seed(t, host+"/some/image", b, root, "v1")
	return map[string]string{
		"registry by tag":    "docker://" + host + "/some/image:v1",
		"layout":             "oci:" + layoutDir(t, files),
		"layout by tag":      "oci:" + layoutDir(t, files) + ":v1",
		"archive":            "oci-archive:" + archiveOf(t, files),
		"archive by tag":     "oci-archive:" + archiveOf(t, files) + ":v1",
		"archive of Docker":  "docker-archive:" + archiveOf(t, files),
		"archive, ./ before": "oci-archive:" + archiveOf(t, dotted(files)),
	}
}

func dotted(files map[string][]byte) map[string][]byte {
	all := map[string][]byte{}
	for name, data := range files {
		all["./"+name] = data
	}
	return all
}

func TestPushMakesTheSameLayoutOfAnImageWhereverItIs(t *testing.T) {
	for name, build := range map[string]func(imagetest.Blobs) ocispec.Descriptor{
		"an OCI image":               func(b imagetest.Blobs) ocispec.Descriptor { return b.Image("amd64", []byte("one"), []byte("two")) },
		"an OCI index":               func(b imagetest.Blobs) ocispec.Descriptor { index, _, _ := multi(b); return index },
		"an image of Docker's":       func(b imagetest.Blobs) ocispec.Descriptor { return docker(b) },
		"an index of Docker's":       func(b imagetest.Blobs) ocispec.Descriptor { return dockerIndex(b) },
		"an image without layers":    func(b imagetest.Blobs) ocispec.Descriptor { return b.Image("amd64") },
		"an image of an empty layer": func(b imagetest.Blobs) ocispec.Descriptor { return b.Image("amd64", nil) },
		"nested indexes":             func(b imagetest.Blobs) ocispec.Descriptor { index, _, _ := multi(b); return b.Index(index) },
	} {
		t.Run(name, func(t *testing.T) {
			b := imagetest.Blobs{}
			root := build(b)
			var first cid.Cid
			for place, text := range places(t, b, root) {
				result, s := push(t, text, publish.PushOptions{})
				if first == cid.Undef {
					first = result.Root
				}
				if result.Root != first || result.Tag != "v1" || result.Blobs != len(b) || result.Descriptor.Digest != root.Digest {
					t.Errorf("%s: %+v; want the root %s, the tag v1, %d blobs and %s", place, result, first, len(b), root.Digest)
				}
				if pinned := s.pins[open(t, text, publish.SourceOptions{}).Name()]; len(pinned) != 1 || pinned[0] != result.Root {
					t.Errorf("%s: pinned %v", place, s.pins)
				}
				wantServed(t, s, result.Root, root, b)
			}
		})
	}
}

func TestPushByDigestHasNoTag(t *testing.T) {
	b := imagetest.Blobs{}
	root := b.Image("amd64", []byte("one"))
	host := newRegistry(t)
	seed(t, host+"/image", b, root, "v1")
	result, s := push(t, "docker://"+host+"/image@"+root.Digest.String(), publish.PushOptions{Name: "mine"})
	if result.Tag != "" || len(s.pins["mine"]) != 1 {
		t.Fatalf("%+v, pins %v; want no tag and the pin of the name", result, s.pins)
	}
	wantServed(t, s, result.Root, root, b)
}

func TestPushAgainAddsTheSame(t *testing.T) {
	b := imagetest.Blobs{}
	index, _, _ := multi(b)
	src := open(t, "oci:"+layoutDir(t, layoutFiles(b, index)), publish.SourceOptions{})
	s := newSink()
	first, err := publish.Push(t.Context(), src, s, publish.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want := len(b) + 2; s.added != want { // every blob once though two platforms share one
		t.Errorf("%d files added; want %d", s.added, want)
	}
	second, err := publish.Push(t.Context(), src, s, publish.PushOptions{})
	if err != nil || second.Root != first.Root {
		t.Fatalf("pushed again: %v, %v; want %v", second.Root, err, first.Root)
	}
}

func TestPushTakesThePlatformsAskedFor(t *testing.T) {
	b := imagetest.Blobs{}
	index, amd64, arm64 := multi(b)
	text := "oci:" + layoutDir(t, layoutFiles(b, index))
	t.Run("one, and the index keeps its digest", func(t *testing.T) {
		result, s := push(t, text, publish.PushOptions{Platforms: []ocispec.Platform{{OS: "linux", Architecture: "arm64"}}})
		if result.Blobs != 5 || len(result.Missing) != 0 {
			t.Errorf("%+v; want 5 blobs and none missing", result)
		}
		wantServed(t, s, result.Root, index, b, ownBlobs(b, amd64)...)
	})
	t.Run("the same one in the form of nerdctl", func(t *testing.T) {
		result, s := push(t, text, publish.PushOptions{Format: "nerdctl", Platforms: []ocispec.Platform{{OS: "linux", Architecture: "arm64"}}})
		d, err := s.resolver().Describe(t.Context(), image.Reference{Path: image.Path{Root: result.Root}})
		if err != nil || len(d.Platforms) != 1 || d.Platforms[0].Architecture != "arm64" {
			t.Fatalf("%+v, %v; want the platform linux/arm64", d, err)
		}
	})
	for name, wanted := range map[string][]ocispec.Platform{
		"none that is there":    {{OS: "linux", Architecture: "s390x"}},
		"one that is not there": {{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "s390x"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := publish.Push(t.Context(), open(t, text, publish.SourceOptions{}), newSink(), publish.PushOptions{Platforms: wanted})
			wantClass(t, err, image.NotFound, "linux/s390x", "linux/amd64", "linux/arm64")
		})
	}
	t.Run("an image for another", func(t *testing.T) {
		one := open(t, "oci:"+layoutDir(t, layoutFiles(b, arm64)), publish.SourceOptions{})
		_, err := publish.Push(t.Context(), one, newSink(), publish.PushOptions{Platforms: []ocispec.Platform{{OS: "linux", Architecture: "amd64"}}})
		wantClass(t, err, image.NotFound, "linux/arm64")
	})
}

func TestPushLeavesOutPlatformsThatAreNotThereWhole(t *testing.T) {
	b := imagetest.Blobs{}
	index, amd64, arm64 := multi(b)
	for name, absent := range map[string][]string{
		"no manifest": {string(b[arm64.Digest])},
		"no layer":    {"only of arm64"},
	} {
		t.Run(name, func(t *testing.T) {
			rest := imagetest.Blobs{}
			for dgst, data := range b {
				if string(data) != absent[0] {
					rest[dgst] = data
				}
			}
			result, s := push(t, "oci:"+layoutDir(t, layoutFiles(rest, index)), publish.PushOptions{})
			if len(result.Missing) != 1 || result.Missing[0].Digest != arm64.Digest {
				t.Errorf("missing %v; want the manifest of arm64", result.Missing)
			}
			wantServed(t, s, result.Root, index, b, ownBlobs(b, arm64)...)
		})
	}
	t.Run("nothing at all", func(t *testing.T) {
		rest := imagetest.Blobs{index.Digest: b[index.Digest]}
		src := open(t, "oci:"+layoutDir(t, layoutFiles(rest, index)), publish.SourceOptions{})
		_, err := publish.Push(t.Context(), src, newSink(), publish.PushOptions{})
		wantClass(t, err, image.NotFound, "linux/amd64", "none is there")
	})
	t.Run("a layer of an image that is no index", func(t *testing.T) {
		rest := imagetest.Blobs{amd64.Digest: b[amd64.Digest]}
		src := open(t, "oci:"+layoutDir(t, layoutFiles(rest, amd64)), publish.SourceOptions{})
		s := newSink()
		_, err := publish.Push(t.Context(), src, s, publish.PushOptions{})
		wantClass(t, err, image.NotFound)
		if len(s.pins) != 0 {
			t.Errorf("published %v", s.pins)
		}
	})
}

func TestPushTakesWhatIsAttached(t *testing.T) {
	b := imagetest.Blobs{}
	index, amd64, _ := multi(b)
	signature := b.Artifact(amd64, "application/vnd.example.signature", []byte("signed"))
	ofSignature := b.Artifact(signature, "application/vnd.example.stamp", []byte("stamped"))
	cosign := b.Image("", []byte("cosign's"))
	cosignTag := strings.Replace(index.Digest.String(), ":", "-", 1) + ".sig"
	seeded := func(t *testing.T, o ...registry.Option) string {
		host := newRegistry(t, o...)
		seed(t, host+"/image", b, index, "v1")
		seed(t, host+"/image", b, signature, "")
		seed(t, host+"/image", b, ofSignature, "")
		seed(t, host+"/image", b, cosign, cosignTag)
		return "docker://" + host + "/image:v1"
	}
	withType := func(desc ocispec.Descriptor) ocispec.Descriptor {
		desc.ArtifactType = "application/vnd.example"
		return desc
	}
	sources := map[string]func(t *testing.T) string{
		"a registry with the referrers API": func(t *testing.T) string { return seeded(t, registry.WithReferrersSupport(true)) },
		"a registry without":                func(t *testing.T) string { return seeded(t) },
		"a layout": func(t *testing.T) string {
			return "oci:" + layoutDir(t, layoutFiles(b, imagetest.Tagged(index, "v1"), withType(signature), ofSignature, imagetest.Tagged(cosign, cosignTag)))
		},
		"a layout without tags": func(t *testing.T) string {
			return "oci:" + layoutDir(t, layoutFiles(b, ofSignature, index, signature, imagetest.Tagged(cosign, cosignTag)))
		},
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			result, s := push(t, source(t), publish.PushOptions{})
			wantServed(t, s, result.Root, index, b)
			for _, pair := range [][2]ocispec.Descriptor{{amd64, signature}, {signature, ofSignature}} {
				found, err := s.resolver().Referrers(t.Context(), image.Path{Root: result.Root}, pair[0].Digest)
				if err != nil || len(found) != 1 || found[0].Digest != pair[1].Digest {
					t.Errorf("referrers of %s: %v, %v; want %s", pair[0].Digest, found, err, pair[1].Digest)
				}
			}
			m, err := s.resolver().Manifest(t.Context(), image.Path{Root: result.Root}, cosignTag)
			if err != nil || m.Descriptor.Digest != cosign.Digest {
				t.Errorf("cosign's tag gives %v, %v", m, err)
			}
		})
	}
}

func TestPushRefusesWhatItDoesNotKnow(t *testing.T) {
	b := imagetest.Blobs{}
	src := open(t, "oci:"+layoutDir(t, layoutFiles(b, b.Image("amd64"))), publish.SourceOptions{})
	_, err := publish.Push(t.Context(), src, newSink(), publish.PushOptions{Format: "dynamic"})
	wantClass(t, err, image.Malformed, `"dynamic"`, "layout or nerdctl or static")
	_, err = publish.Push(t.Context(), src, newSink(), publish.PushOptions{Chunker: "rabin"})
	wantClass(t, err, image.Malformed, `"rabin"`, string(publish.UnixFSv1), string(publish.KuboLegacy))
}

// recorder is a Progress.
type recorder struct {
	mu   sync.Mutex
	seen map[string]int64
	done int
}

func (r *recorder) Start(ocispec.Descriptor) {}
func (r *recorder) Advance(desc ocispec.Descriptor, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[desc.Digest.String()] += n
}
func (r *recorder) Done(ocispec.Descriptor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
}

func TestPushTellsHowFarItIs(t *testing.T) {
	b := imagetest.Blobs{}
	layer := bytes.Repeat([]byte("layer"), 100_000)
	root := b.Image("amd64", layer)
	r := &recorder{seen: map[string]int64{}}
	push(t, "oci:"+layoutDir(t, layoutFiles(b, root)), publish.PushOptions{Progress: r})
	if r.done != 2 || r.seen[b.Add("", layer).Digest.String()] != int64(len(layer)) {
		t.Fatalf("%d done, %v; want the config and all of the layer", r.done, r.seen)
	}
}

func TestPushEndsWithItsContext(t *testing.T) {
	b := imagetest.Blobs{}
	root := b.Image("amd64", bytes.Repeat([]byte("layer"), 1_000_000))
	src := open(t, "oci:"+layoutDir(t, layoutFiles(b, root)), publish.SourceOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	s := newSink()
	_, err := publish.Push(ctx, src, s, publish.PushOptions{Progress: cancelling{cancel}})
	if !errors.Is(err, context.Canceled) || len(s.pins) != 0 {
		t.Fatalf("%v, published %v; want the end of the context and nothing published", err, s.pins)
	}
}

// cancelling gives up at the first byte.
type cancelling struct{ cancel func() }

func (cancelling) Start(ocispec.Descriptor)            {}
func (c cancelling) Advance(ocispec.Descriptor, int64) { c.cancel() }
func (cancelling) Done(ocispec.Descriptor)             {}

// broken is a Source whose blobs end with an error.
type broken struct {
	publish.Source
	err error
}

func (b broken) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := b.Source.Open(ctx, desc)
	if err != nil || strings.Contains(desc.MediaType, "manifest") {
		return rc, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(rc, 2), failing{b.err}), rc}, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestPushSurvivesAnInterruptedSource(t *testing.T) {
	b := imagetest.Blobs{}
	root := b.Image("amd64", []byte("a layer"))
	src := open(t, "oci:"+layoutDir(t, layoutFiles(b, root)), publish.SourceOptions{})
	s := newSink()
	_, err := publish.Push(t.Context(), broken{src, fmt.Errorf("the cable: %w", io.ErrUnexpectedEOF)}, s, publish.PushOptions{})
	wantClass(t, err, image.Unavailable, "the cable", "try again")
	if len(s.pins) != 0 {
		t.Fatalf("published %v", s.pins)
	}
	if _, err := publish.Push(t.Context(), src, s, publish.PushOptions{}); err != nil {
		t.Fatalf("pushed again: %v", err)
	}
}

// A small manifest is in index.json too, and is the same everywhere.
func TestPushPutsASmallManifestIntoTheIndex(t *testing.T) {
	for name, layers := range map[string]int{"small": 2, "large": 200} {
		t.Run(name, func(t *testing.T) {
			b := imagetest.Blobs{}
			var all [][]byte
			for i := range layers {
				all = append(all, fmt.Appendf(nil, "layer %d", i))
			}
			root := b.Image("amd64", all...)
			for place, text := range places(t, b, root) {
				result, s := push(t, text, publish.PushOptions{})
				f, err := s.store.Open(t.Context(), image.Path{Root: result.Root, Rest: "index.json"})
				if err != nil {
					t.Fatal(err)
				}
				var index ocispec.Index
				if err := json.NewDecoder(f).Decode(&index); err != nil {
					t.Fatal(err)
				}
				want := b[root.Digest]
				if len(want) > 16<<10 {
					want = nil
				}
				if got := index.Manifests[0].Data; !bytes.Equal(got, want) {
					t.Errorf("%s: index.json has %q; want %q", place, got, want)
				}
			}
		})
	}
}
