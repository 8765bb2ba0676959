package pin_test

import (
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/pin"
	"github.com/ipfs-registry/ipfs-registry/pin/pintest"
)

// classes are those of the answers to all questions about a manifest.
func classes(t *testing.T, images pin.Images, p image.Path, manifest digest.Digest) []image.Class {
	t.Helper()
	var found []image.Class
	for _, ref := range []string{"v1", manifest.String()} {
		c, err := images.Manifest(t.Context(), p, ref)
		if err == nil {
			if data, err := io.ReadAll(c); err != nil || digest.FromBytes(data) != c.Descriptor.Digest {
				t.Errorf("the manifest has other bytes, %v", err)
			}
			c.Close()
		}
		found = append(found, image.ClassOf(err))
	}
	c, err := images.Blob(t.Context(), p, manifest)
	if err == nil {
		c.Close()
	}
	_, referrers := images.Referrers(t.Context(), p, manifest)
	_, tags := images.Tags(t.Context(), p)
	return append(found, image.ClassOf(err), image.ClassOf(referrers), image.ClassOf(tags))
}

func expectAll(t *testing.T, what string, got []image.Class, want image.Class) {
	t.Helper()
	for _, class := range got {
		if class != want {
			t.Errorf("%s: the classes are %v; want %v everywhere", what, got, want)
			return
		}
	}
}

func TestServePinned(t *testing.T) {
	h := newHost(pin.Options{Policy: &pin.Policy{Serve: pin.ServePinned}})
	guard := h.Guard(h.images)
	root, img := h.layout("layer")
	p := image.Path{Root: root}
	expectAll(t, "not pinned", classes(t, guard, p, img.Digest), image.Denied)
	if len(h.node.Has()) > 0 {
		t.Error("what is denied was fetched")
	}
	h.add(t, pin.Request{Path: p})
	expectAll(t, "pinned", classes(t, guard, p, img.Digest), 0)
	if err := guard.AdmitFile(t.Context(), root); err != nil {
		t.Error(err)
	}
	if err := h.Remove(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	expectAll(t, "let go of", classes(t, guard, p, img.Digest), image.Denied)
	if err := guard.AdmitFile(t.Context(), root); image.ClassOf(err) != image.Denied {
		t.Errorf("its file gave %v", err)
	}
}

// A root on the list admits all below it, a digest what is below that, and a
// list that cannot be read nothing.
func TestServeList(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list")
	h := newHost(pin.Options{Policy: &pin.Policy{Serve: pin.ServeList, List: list}})
	guard := h.Guard(h.images)
	root, amd, arm, _ := h.multi(func(b imagetest.Blobs, index ocispec.Descriptor, more ...ocispec.Descriptor) cid.Cid {
		return b.Layout(h.node, nil, append(more, imagetest.Tagged(index, "v1"))...)
	})
	p := image.Path{Root: root}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expectAll(t, "no list", classes(t, guard, p, arm.Digest), image.Denied)
	write(root.String())
	expectAll(t, "its root is listed", classes(t, guard, p, arm.Digest), 0)
	if _, err := h.Add(t.Context(), pin.Request{Path: p}, nil); err != nil {
		t.Errorf("keep what is listed: %v", err)
	}
	write("# nobody\n")
	expectAll(t, "nothing is listed", classes(t, guard, p, arm.Digest), image.Denied)
	write("\n\n" + arm.Digest.String())
	if got := classes(t, guard, p, arm.Digest); got[0] != image.Denied || got[1]+got[2]+got[3]+got[4] != 0 {
		t.Errorf("a manifest is listed: the classes are %v; want that its index alone is denied", got)
	}
	if got := classes(t, guard, p, amd.Digest); got[0] != image.Denied || got[1] != image.Denied || got[2] != image.Denied {
		t.Errorf("a manifest beside the one listed: the classes are %v", got)
	}
	write(digest.FromString("something else").String())
	expectAll(t, "another digest is listed", classes(t, guard, p, arm.Digest), image.Denied)
	if _, err := h.Add(t.Context(), pin.Request{Path: p}, nil); image.ClassOf(err) != image.Denied {
		t.Errorf("keep what is not listed: %v", err)
	}
}

// A listed artifact of OCI 1.1's drafts is admitted with its blobs, and no larger
// than an image may be.
func TestArtifactOfTheDrafts(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list")
	h := newHost(pin.Options{MaxImageSize: 1000, Policy: &pin.Policy{Serve: pin.ServeList, List: list}})
	guard, b := h.Guard(h.images), imagetest.Blobs{}
	artifact := func(size int) (image.Path, ocispec.Descriptor, ocispec.Descriptor) {
		blob := b.Add("application/octet-stream", make([]byte, size))
		const mediaType = "application/vnd.oci.artifact.manifest.v1+json"
		desc := b.AddJSON(mediaType, map[string]any{"mediaType": mediaType, "artifactType": "example/of", "blobs": []ocispec.Descriptor{blob}})
		return image.Path{Root: b.Layout(h.node, nil, imagetest.Tagged(desc, "v1"))}, desc, blob
	}
	p, desc, blob := artifact(100)
	large, largeDesc, _ := artifact(1001)
	if err := os.WriteFile(list, []byte(desc.Digest.String()+"\n"+largeDesc.Digest.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := guard.Blob(t.Context(), p, blob.Digest)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := guard.Manifest(t.Context(), large, largeDesc.Digest.String()); image.ClassOf(err) != image.Denied {
		t.Errorf("one of 1001 bytes gave %v", err)
	}
}

// prefetching is a node that counts how often it is to prefetch.
type prefetching struct {
	*pintest.Node
	calls int
}

func (n *prefetching) Prefetch([]image.Part) { n.calls++ }

// To look whether something may be served, as for a HEAD, has nothing of it
// fetched: who reads the manifest then does.
func TestLookingAtAManifestFetchesNothing(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list")
	h := newHost(pin.Options{Policy: &pin.Policy{Serve: pin.ServeList, List: list}})
	root, img := h.layout("layer")
	if err := os.WriteFile(list, []byte(img.Digest.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &prefetching{Node: h.node}
	guard := h.Guard(image.NewResolver(n, datastore.NewMapDatastore(), image.ResolverOptions{}))
	c, err := guard.Manifest(t.Context(), image.Path{Root: root}, img.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n.calls != 0 {
		t.Errorf("something was prefetched %d times before anybody read", n.calls)
	}
	if _, err := io.ReadAll(c); err != nil || n.calls != 1 {
		t.Errorf("something was prefetched %d times for who read, %v", n.calls, err)
	}
}

// What is handed on outside of the registry has to be kept too, all of it.
func TestHandedOnIsPinned(t *testing.T) {
	h := newHost(pin.Options{Policy: &pin.Policy{Serve: pin.ServePinned}})
	root, _, _, _ := h.multi(func(b imagetest.Blobs, index ocispec.Descriptor, more ...ocispec.Descriptor) cid.Cid {
		return b.Layout(h.node, nil, append(more, imagetest.Tagged(index, "v1"))...)
	})
	p := image.Path{Root: root}
	closure := func(platforms ...string) *image.Closure {
		t.Helper()
		selection, err := (&pin.Image{Platforms: platforms}).Selection()
		if err != nil {
			t.Fatal(err)
		}
		c, err := h.images.Closure(t.Context(), p, selection)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	expect := func(what string, want image.Class, c *image.Closure) {
		t.Helper()
		if err := h.AdmitClosure(t.Context(), p, c); image.ClassOf(err) != want {
			t.Errorf("%s: %v; want the class %v", what, err, want)
		}
	}
	expect("nothing is kept", image.Denied, closure())
	h.add(t, pin.Request{Path: p, Platforms: []string{"linux/arm64"}})
	expect("the platform that is kept", 0, closure("linux/arm64"))
	expect("more than is kept", image.Denied, closure())
	h.add(t, pin.Request{Path: p})
	expect("all is kept", 0, closure())
}

func TestServedImagesHaveASize(t *testing.T) {
	h := newHost(pin.Options{MaxImageSize: 1000})
	guard := h.Guard(h.images)
	small, smallImage := h.layout("small")
	expectAll(t, "a small image", classes(t, guard, image.Path{Root: small}, smallImage.Digest), 0)
	large, largeImage := h.layout(string(make([]byte, 1001)))
	if got := classes(t, guard, image.Path{Root: large}, largeImage.Digest); got[0] != image.Denied || got[1] != image.Denied {
		t.Errorf("a large image: the classes are %v", got)
	}
	if _, err := guard.Blob(t.Context(), image.Path{Root: large}, digest.FromBytes(make([]byte, 1001))); image.ClassOf(err) != image.Denied {
		t.Errorf("its layer gave %v", err)
	}
}

// The sizes that a manifest names have a sum that no number of them turns negative.
func TestSizesThatOverflow(t *testing.T) {
	h := newHost(pin.Options{MaxImageSize: 1000})
	guard := h.Guard(h.images)
	for want, sizes := range map[image.Class][]int64{
		image.NotImage: {5, math.MaxInt64},
		image.Denied:   slices.Repeat([]int64{1 << 50}, 1<<13),
	} {
		m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: ocispec.DescriptorEmptyJSON}
		for _, size := range sizes {
			m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString("layer"), Size: size})
		}
		c, err := guard.Manifest(t.Context(), image.Path{Root: h.node.AddFile(imagetest.JSON(m))}, "latest")
		if image.ClassOf(err) != want {
			t.Errorf("%d layers gave %v; want the class %v", len(sizes), err, want)
		}
		if err == nil {
			c.Close()
		}
	}
}

// What is pulled is kept: not what was only looked at, and of several platforms
// the one pulled.
func TestOnPull(t *testing.T) {
	h := newHost(pin.Options{OnPull: true})
	guard := h.Guard(h.images)
	root, _, arm, _ := h.multi(func(b imagetest.Blobs, index ocispec.Descriptor, more ...ocispec.Descriptor) cid.Cid {
		return b.Layout(h.node, nil, append(more, imagetest.Tagged(index, "v1"))...)
	})
	looked, lookedImage := h.layout("looked at")
	noted := false
	pulled := image.Path{Root: root}
	h.runUntil(t, func() bool {
		expectAll(t, "looked at", classes(t, guard, image.Path{Root: looked}, lookedImage.Digest), 0)
		for _, ref := range []string{"v1", arm.Digest.String()} {
			if c, err := guard.Manifest(t.Context(), pulled, ref); err != nil {
				t.Error(err)
			} else {
				c.Close()
			}
		}
		if !noted {
			noted = true
			if err := readBlob(t, guard, pulled, digest.FromString("for arm64")); err != nil {
				t.Error(err)
			}
		}
		all := h.list(t)
		return len(all) == 1 && all[0].State == pin.Kept
	})
	i := h.list(t)[0]
	if i.Root != root || i.Explicit || len(i.Manifests) != 1 || i.Manifests[0] != arm.Digest {
		t.Errorf("kept: %+v", i)
	}
	h.collect(t)
	if err := h.readable(t, pulled, arm.Digest.String()); err != nil {
		t.Errorf("after a collection: %v", err)
	}
	h.node.Offline = true
	if err := readBlob(t, h.images, pulled, digest.FromString("for amd64")); image.ClassOf(err) != image.Unavailable {
		t.Errorf("the platform that was not pulled gave %v; want that it is not here", err)
	}
}

// An image is left alone while somebody reads from it, and two seconds more, but
// not for ever.
func TestOnPullWaitsForReaders(t *testing.T) {
	for name, c := range map[string]struct{ read, after, kept time.Duration }{
		"a short while": {read: 30 * time.Second, after: 31 * time.Second, kept: 33 * time.Second},
		"for ever":      {read: time.Hour, after: 59 * time.Second, kept: 65 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(pin.Options{OnPull: true})
				root, img := h.layout("a layer")
				p, guard := image.Path{Root: root}, h.Guard(h.images)
				expectAll(t, "the manifest", classes(t, guard, p, img.Digest), 0)
				ctx, stop := context.WithCancel(t.Context())
				go h.Run(ctx)
				defer stop()
				reading, done := context.WithTimeout(ctx, c.read)
				defer done()
				blob, err := guard.Blob(reading, p, digest.FromString("a layer"))
				if err != nil {
					t.Fatal(err)
				}
				defer blob.Close()
				<-time.After(c.after) // by the clock of the bubble, which nobody waits for
				if all := h.list(t); len(all) > 0 {
					t.Errorf("kept while it is read: %+v", all[0])
				}
				<-time.After(c.kept - c.after)
				if all := h.list(t); len(all) != 1 || all[0].State != pin.Kept {
					t.Errorf("%d are kept; want one", len(all))
				}
			})
		})
	}
}

// A client has from a handler what the keeper behind it says, errors and all.
func TestRPC(t *testing.T) {
	h := newHost(pin.Options{})
	client := h.client(t)
	root, _ := h.layout("one layer", "and another")
	p := image.Path{Root: root}
	var told []pin.Progress
	i, err := client.Add(t.Context(), pin.Request{Path: p, Name: "by rpc"}, func(p pin.Progress) { told = append(told, p) })
	if err != nil || i.State != pin.Kept || i.Root != root || i.Name != "by rpc" {
		t.Errorf("added %+v, %v", i, err)
	}
	if n := len(told); n < 2 || told[n-1].Done != told[n-1].Total || told[n-1].BlobsDone != 3 {
		t.Errorf("told of %+v", told)
	}
	if all := listed(t, client); len(all) != 1 || all[0].Size != i.Size {
		t.Errorf("listed %+v", all)
	}
	if err := client.Remove(t.Context(), p); err != nil {
		t.Error(err)
	}
	if err := client.Remove(t.Context(), p); image.ClassOf(err) != image.NotFound {
		t.Errorf("removed twice: %v; want the class NotFound", err)
	}
	would, err := client.Collect(t.Context(), true)
	if err != nil || would.Blocks == 0 {
		t.Errorf("would free %+v, %v", would, err)
	}
	if did, err := client.Collect(t.Context(), false); err != nil || did != would {
		t.Errorf("freed %+v, %v; want %+v", did, err, would)
	}
}
