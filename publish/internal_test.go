package publish

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/archive"
)

func TestParseLocation(t *testing.T) {
	for text, want := range map[string]location{
		"docker://alpine":                    {kind: kindRegistry, ref: "alpine"},
		"docker://localhost:5000/a/b:v1":     {kind: kindRegistry, ref: "localhost:5000/a/b:v1"},
		"oci:dir":                            {kind: kindLayout, path: "dir"},
		"oci:/a/dir:v1":                      {kind: kindLayout, path: "/a/dir", ref: "v1"},
		"oci-archive:a.tar:v1":               {kind: kindLayoutArchive, path: "a.tar", ref: "v1"},
		"docker-archive:a.tar:host:80/b:v1":  {kind: kindDockerArchive, path: "a.tar", ref: "host:80/b:v1"},
		"docker-daemon:sha256:" + zeros:      {kind: kindDockerDaemon, ref: "sha256:" + zeros},
		"containerd:docker.io/library/a:tag": {kind: kindContainerd, ref: "docker.io/library/a:tag"},
	} {
		want.text = text
		if got, err := parseLocation(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "alpine", "docker:alpine", "docker://", "docker://A B", "oci:", "oci::v1", "oci-archive:", "docker-archive::x",
		"docker-daemon:", "containerd:", "oci:a\x00b", "http://x", "oci:" + strings.Repeat("x", maxLocation)} {
		_, err := OpenSource(t.Context(), text, SourceOptions{})
		if image.ClassOf(err) != image.Malformed || !strings.Contains(err.Error(), sourceForms) || len(err.Error()) > 1000 {
			t.Errorf("%.40q: %v; want a Malformed error that lists the forms", text, err)
		}
	}
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func FuzzParseLocation(f *testing.F) {
	for _, text := range []string{"docker://alpine:3", "oci:dir:tag", "oci-archive:a.tar", "docker-archive:a:b:c", "docker-daemon:x@sha256:" + zeros, "containerd:y", "oci:"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseLocation(text)
		if err != nil {
			return
		}
		again := string(l.kind) + l.path
		if l.path != "" && l.ref != "" {
			again += ":"
		}
		if again += l.ref; again != text && again+":" != text {
			t.Errorf("%q is read as %+v", text, l)
		}
		if l.path == "" && l.ref == "" || strings.ContainsAny(l.path, ":\x00") {
			t.Errorf("%q is read as %+v", text, l)
		}
	})
}

func FuzzParseDockerManifest(f *testing.F) {
	for _, text := range []string{`[{"Config":"a.json","RepoTags":["a:1"],"Layers":["b/layer.tar"]}]`, `[]`, `[{}]`, `{}`, `[{"Config":"x","RepoTags":null}]`} {
		f.Add([]byte(text), "a:1")
	}
	f.Fuzz(func(t *testing.T, data []byte, ref string) {
		all, err := archive.ParseDocker(data)
		if err != nil {
			return
		}
		im, _, err := chooseDockerImage(all, ref)
		if err == nil && im.Config == "" {
			t.Errorf("%s has an image without a config", data)
		}
	})
}

func FuzzParseDocument(f *testing.F) {
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex}
	for _, text := range []string{`{"manifests":[{"digest":"sha256:` + zeros + `","size":1}]}`, `{"config":{},"layers":[]}`, `{"mediaType":"x"}`, `[]`} {
		f.Add([]byte(text), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, index bool) {
		desc := desc
		if !index {
			desc.MediaType = ocispec.MediaTypeImageManifest
		}
		d, err := parseDocument(data, desc)
		if err == nil && (d.Manifests != nil) && (!index || d.Config != nil || d.Layers != nil) {
			t.Errorf("%s passes for both a manifest and an index", data)
		}
		if err == nil {
			for _, child := range d.Children() {
				if checkDescriptor(child) == nil && (child.Size < 0 || child.Digest.Validate() != nil) {
					t.Errorf("%v passes", child)
				}
			}
		}
	})
}

// silent is a Source that answers nothing, or nothing after a byte.
type silent struct {
	identity
	first string
}

func (silent) Has(context.Context, ocispec.Descriptor) (bool, error) { return true, nil }
func (silent) Referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return nil, nil
}
func (silent) Close() error { return nil }

func (s silent) Open(ctx context.Context, _ ocispec.Descriptor) (io.ReadCloser, error) {
	if s.first == "" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return io.NopCloser(io.MultiReader(strings.NewReader(s.first), waiting{ctx})), nil
}

type waiting struct{ ctx context.Context }

func (w waiting) Read([]byte) (int, error) {
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}

func TestNothingWaitsForASourceThatStalls(t *testing.T) {
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString("x"), Size: 10}
	for name, src := range map[string]Source{"before it opens": &silent{}, "after a byte": &silent{first: "x"}} {
		t.Run(name, func(t *testing.T) {
			tr := newTransfer(src, nil)
			tr.stall = 20 * time.Millisecond
			err := tr.all(t.Context(), []ocispec.Descriptor{desc}, func(_ context.Context, _ ocispec.Descriptor, r io.Reader) error {
				_, err := io.Copy(io.Discard, r)
				return err
			})
			if image.ClassOf(err) != image.Unavailable || !errors.Is(err, errStalled) {
				t.Errorf("%v; want Unavailable, because nothing arrived", err)
			}
		})
	}
}

func TestATransferIsReadToItsEnd(t *testing.T) {
	desc := ocispec.Descriptor{Digest: digest.FromString("x"), Size: 1}
	err := newTransfer(&silent{first: "x"}, nil).one(t.Context(), desc, func(context.Context, ocispec.Descriptor, io.Reader) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "not read to its end") {
		t.Errorf("%v; want an error, since nobody has seen the bytes", err)
	}
}
