package test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"syscall"
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
	few := manyPins(b, repo, 0, manyImages/100)
	b.Logf("peak memory of a daemon with %d images: %d MiB", manyImages/100, few>>20)
	many := manyPins(b, repo, manyImages/100, manyImages)
	b.Logf("with %d images: %d MiB", manyImages, many>>20)
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
		d.terminate(b)
		usage, _ := d.cmd.ProcessState.SysUsage().(*syscall.Rusage)
		b.ReportMetric(float64(usage.Maxrss>>10), "MiB-peak")
	}
}

// manyPins adds images to a repository and returns the peak memory of a daemon
// that starts on it and collects garbage, in bytes.
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
	collect(b, repo, "--dry-run")
	d.terminate(b)
	usage, ok := d.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		b.Fatal("no resource usage")
	}
	return usage.Maxrss << 10
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
