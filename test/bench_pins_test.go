package test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/node"
	"github.com/ipfs-registry/ipfs-registry/pin"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

const (
	manyImages = 10_000
	manyLayers = 20
)

// Ten thousand images that share their twenty layers.
func BenchmarkManyPins(b *testing.B) {
	repo := b.TempDir()
	had := 0
	for _, images := range []int{manyImages / 100, manyImages / 10, manyImages / 2, manyImages} {
		peak := manyPins(b, repo, had, images)
		b.Logf("peak memory of a daemon with %d images: %d MiB", images, peak>>20)
		had = images
	}
	for b.Loop() {
		began := time.Now()
		listed := strings.Count(must(b, cli(b.Context(), repo, "pin", "ls")), "\n") - 1
		b.ReportMetric(time.Since(began).Seconds(), "s/pin-ls")
		if listed != manyImages {
			b.Fatalf("%d images are listed", listed)
		}
		began = time.Now()
		d := serve(b, repo, "--offline", "--gc-watermark", "0")
		b.ReportMetric(time.Since(began).Seconds(), "s/start")
		began = time.Now()
		must(b, cli(b.Context(), repo, "pin", "ls", "--json"))
		b.ReportMetric(time.Since(began).Seconds(), "s/pin-ls-of-daemon")
		began = time.Now()
		f := collect(b, repo, "--dry-run")
		b.ReportMetric(time.Since(began).Seconds(), "s/gc-dry-run")
		b.Logf("gc: %+v", f)
		b.ReportMetric(float64(d.peakMemory(b)>>20), "MiB-peak")
		d.terminate(b)
	}
}

// manyPins adds images to a repository and returns the peak memory of a daemon
// that starts on it, lists them and collects garbage, in bytes.
func manyPins(b *testing.B, repo string, from, to int) int64 {
	b.Helper()
	began := time.Now()
	n, err := node.Open(b.Context(), node.Options{RepoPath: repo})
	if err != nil {
		b.Fatal(err)
	}
	keeper := pin.New(image.NewResolver(n, n.Datastore(), image.ResolverOptions{}), n, n.Records(), pin.Options{})
	a := adding{b, n}
	for i := from; i < to; i++ {
		blobs := imagetest.Blobs{}
		layers := make([][]byte, manyLayers)
		for l := range layers {
			layers[l] = bytes.Repeat([]byte(strconv.Itoa(l)), 10<<10)
		}
		desc := blobs.Image(fmt.Sprint("machine", i), layers...)
		root := blobs.Layout(a, nil, imagetest.Tagged(desc, fmt.Sprint("v", i)))
		if _, err := keeper.Add(b.Context(), pin.Request{Path: image.Path{Root: root}, Name: fmt.Sprint("image-", i)}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("added %d images in %s", to-from, time.Since(began))
	if err := n.Close(); err != nil {
		b.Fatal(err)
	}
	d := serve(b, repo, "--offline", "--gc-watermark", "0")
	must(b, cli(b.Context(), repo, "pin", "ls", "--json"))
	collect(b, repo, "--dry-run")
	peak := d.peakMemory(b)
	d.terminate(b)
	return peak
}

// adding puts content into a node.
type adding struct {
	testing.TB
	node *node.Node
}

func (a adding) AddFile(data []byte) cid.Cid {
	c, err := a.node.AddFile(a.Context(), bytes.NewReader(data), publish.UnixFSv1)
	if err != nil {
		a.Fatal(err)
	}
	return c
}

func (a adding) AddDir(entries map[string]cid.Cid) cid.Cid {
	c, err := a.node.AddDir(a.Context(), entries, publish.UnixFSv1)
	if err != nil {
		a.Fatal(err)
	}
	return c
}

const (
	// garbage is how many blocks a collection removes beside the pulls.
	garbage = 30_000
	// pulling is how long is pulled without a collection, to compare with.
	pulling = 5 * time.Second
)

// Pulls of a warm layer, and small ranges of it, with and without a collection
// of garbage beside them.
func BenchmarkPullsDuringCollection(b *testing.B) {
	images := testImages(b)
	repo := b.TempDir()
	cid := push(b, repo, images.real.spec())
	addGarbage(b, repo)
	d := serve(b, repo, "--offline")
	layer := images.real.manifest(b).Layers[0]
	url := d.url("%s/blobs/%s", cid, layer.Digest)
	for b.Loop() {
		alone, worstAlone := pullUntil(b, url, time.After(pulling))
		collected := make(chan time.Time)
		go func() {
			defer close(collected)
			began := time.Now()
			b.Logf("collected %+v in %s", collect(b, repo), time.Since(began))
		}()
		beside, worst := pullUntil(b, url, collected)
		b.ReportMetric(alone/1e6, "MB/s-alone")
		b.ReportMetric(beside/1e6, "MB/s-beside")
		b.ReportMetric(beside/alone, "ratio")
		b.ReportMetric(worstAlone.Seconds()*1e3, "ms-worst-range-alone")
		b.ReportMetric(worst.Seconds()*1e3, "ms-worst-range-beside")
	}
}

func addGarbage(b *testing.B, repo string) {
	b.Helper()
	n, err := node.Open(b.Context(), node.Options{RepoPath: repo})
	if err != nil {
		b.Fatal(err)
	}
	for i := range garbage {
		adding{b, n}.AddFile([]byte(strings.Repeat(strconv.Itoa(i), 1000)))
	}
	if err := n.Close(); err != nil {
		b.Fatal(err)
	}
}

// pullUntil reads the blob over and over, and returns the bytes a second and the
// longest that one of the small ranges read beside it took.
func pullUntil(b *testing.B, url string, over <-chan time.Time) (rate float64, worst time.Duration) {
	b.Helper()
	done := make(chan struct{})
	ranges := make(chan time.Duration)
	go func() {
		longest := time.Duration(0)
		for n := 0; ; n++ {
			select {
			case <-done:
				ranges <- longest
				return
			default:
			}
			began := time.Now()
			at := n * 7 << 16 % (64 << 20)
			get(b, url, fmt.Sprintf("bytes=%d-%d", at, at+16<<10-1))
			longest = max(longest, time.Since(began))
		}
	}()
	began, read := time.Now(), int64(0)
	for {
		read += get(b, url, "")
		select {
		case <-over:
			rate = float64(read) / time.Since(began).Seconds()
			close(done)
			return rate, <-ranges
		default:
		}
	}
}

func get(b *testing.B, url, span string) int64 {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		b.Error(err)
		return 0
	}
	if span != "" {
		req.Header.Set("Range", span)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Error(err)
		return 0
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil {
		b.Error(err)
	}
	return n
}
