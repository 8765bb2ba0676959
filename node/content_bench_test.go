package node

import (
	"io"
	"math/rand/v2"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

func benchmarkFile(b *testing.B) (*content, image.Path, int64) {
	b.Helper()
	const size = 119 << 20
	c := offlineContent(flatfsStore(b))
	root, err := c.AddFile(b.Context(), stream(size), publish.UnixFSv1)
	if err != nil {
		b.Fatal(err)
	}
	dir, err := c.AddDir(b.Context(), map[string]cid.Cid{"blobs/sha256/layer": root}, publish.UnixFSv1)
	if err != nil {
		b.Fatal(err)
	}
	return c, image.Path{Root: dir, Rest: "blobs/sha256/layer"}, size
}

func BenchmarkWarmSequential(b *testing.B) {
	c, p, size := benchmarkFile(b)
	buf := make([]byte, 1<<20)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		f, err := c.Open(b.Context(), p)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{f}, buf); err != nil || n != size {
			b.Fatal(n, err)
		}
		f.Close()
	}
}

func BenchmarkWarmRandom16K(b *testing.B) {
	const n = 16 << 10
	c, p, size := benchmarkFile(b)
	buf := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		f, err := c.Open(b.Context(), p)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Seek(rng.Int64N(size-n), io.SeekStart); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(f, buf); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func BenchmarkWarmOpen(b *testing.B) {
	c, p, _ := benchmarkFile(b)
	b.ReportAllocs()
	for b.Loop() {
		f, err := c.Open(b.Context(), p)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
