package image_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
)

// keeper keeps what it is told to.
type keeper struct {
	paths []image.Path
	asked int
}

func (k *keeper) Kept(_ context.Context, before string) ([]image.Path, string, error) {
	k.asked++
	if state := fmt.Sprint(k.paths); state != before {
		return k.paths, state, nil
	}
	return nil, before, nil
}

func TestKept(t *testing.T) {
	s, blobs := imagetest.NewStore(), imagetest.Blobs{}
	one := blobs.Image("amd64", []byte("base"), []byte("one"))
	first := image.Path{Root: blobs.Layout(s, nil, one)}
	blobs = imagetest.Blobs{}
	two := blobs.Image("amd64", []byte("base"), []byte("two"))
	absent := imagetest.Blobs{}.Image("arm64", []byte("left out"))
	index := blobs.Index(two, absent)
	second := image.Path{Root: blobs.Layout(s, nil, index)}
	noImage := image.Path{Root: s.AddFile([]byte("no image"))}
	gone := image.Path{Root: s.AddFile([]byte("gone"))}
	s.Remove(gone.Root)

	k := &keeper{}
	kept := image.NewKept(k, image.NewResolver(s, records(), image.ResolverOptions{}), nil)
	base, of := digest.FromString("base"), func(s string) digest.Digest { return digest.FromString(s) }
	for _, step := range []struct {
		paths []image.Path
		want  map[digest.Digest][]image.Path
	}{
		{nil, map[digest.Digest][]image.Path{base: nil, one.Digest: nil}},
		{[]image.Path{first, noImage, gone}, map[digest.Digest][]image.Path{base: {first}, of("one"): {first}, one.Digest: {first}, of("two"): nil}},
		{[]image.Path{first, second}, map[digest.Digest][]image.Path{base: {first, second}, of("two"): {second}, index.Digest: {second}, absent.Digest: nil, of("left out"): nil}},
		{[]image.Path{second}, map[digest.Digest][]image.Path{base: {second}, of("one"): nil, two.Digest: {second}}},
	} {
		k.paths = step.paths
		for dgst, want := range step.want {
			got, err := kept.Find(t.Context(), dgst)
			if len(want) == 0 && image.ClassOf(err) != image.NotFound || len(want) > 0 && (err != nil || got != want[0] && got != want[len(want)-1]) {
				t.Errorf("with %v, %s is in %s, %v; want %v", step.paths, dgst, got, err, want)
			}
		}
	}
}

func TestKnowsWithoutReading(t *testing.T) {
	s, blobs := imagetest.NewStore(), imagetest.Blobs{}
	desc := blobs.Image("amd64", []byte("layer"))
	p := image.Path{Root: blobs.Layout(s, nil, desc)}
	r := image.NewResolver(s, records(), image.ResolverOptions{})
	if r.Knows(p, desc.Digest) || s.Opened != 0 {
		t.Errorf("it knows an image that nobody asked for, or has opened %d files", s.Opened)
	}
	m, err := r.Manifest(t.Context(), p, "latest")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	before := s.Opened
	if !r.Knows(p, desc.Digest) || !r.Knows(p, digest.FromString("layer")) || r.Knows(p, digest.FromString("other")) || s.Opened != before {
		t.Error("it does not know what it has read, or reads more")
	}
}

// Several keepers are one, whose state changes when that of any does.
func TestKeepers(t *testing.T) {
	one, two := &keeper{paths: make([]image.Path, 1)}, &keeper{}
	both := image.Keepers{one, two}
	paths, state, err := both.Kept(t.Context(), "")
	if err != nil || len(paths) != 1 {
		t.Fatalf("%v, %v; want one path", paths, err)
	}
	if _, again, err := both.Kept(t.Context(), state); err != nil || again != state {
		t.Errorf("state %s, %v; want %s as before", again, err, state)
	}
	two.paths = make([]image.Path, 2)
	if paths, again, err := both.Kept(t.Context(), state); err != nil || again == state || len(paths) != 3 {
		t.Errorf("%v in the state %s, %v; want three paths and a state of their own", paths, again, err)
	}
}
