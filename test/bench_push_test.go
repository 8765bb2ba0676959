package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// BenchmarkPush converts the image under test to eStargz and puts it into IPFS,
// from containerd, with nerdctl and with us.
func BenchmarkPush(b *testing.B) {
	c, k := containerdEngine(b), kuboNode(b)
	ref := sourceRegistry(b).copyIn(b, testImages(b).real, "push/real:v1")
	namespace := namespaceOf(b)
	must(b, c.nerdctl(b, namespace, "pull", "--quiet", ref))
	ways := []*pushWay{
		{name: "nerdctl push --estargz, Kubo", push: func() {
			cmd := c.nerdctl(b, namespace, "push", "--estargz", "ipfs://"+ref)
			cmd.Env = append(cmd.Env, "IPFS_PATH="+k.repo)
			must(b, cmd)
		}},
		{name: "push --estargz", push: func() {
			push(b, tempDir(b), "--estargz", "--containerd-address", c.address, "--namespace", namespace, "containerd:"+ref)
		}},
		{name: "push --zstd-chunked", push: func() {
			push(b, tempDir(b), "--zstd-chunked", "--containerd-address", c.address, "--namespace", namespace, "containerd:"+ref)
		}},
		{name: "push", push: func() {
			push(b, tempDir(b), "--containerd-address", c.address, "--namespace", namespace, "containerd:"+ref)
		}},
	}
	for b.Loop() {
		for range 3 {
			for _, w := range ways {
				began := time.Now()
				w.push()
				w.seconds = append(w.seconds, time.Since(began).Seconds())
			}
		}
	}
	var t strings.Builder
	t.WriteString("| | s | times as fast |\n| --- | --- | --- |\n")
	for _, w := range ways {
		fmt.Fprintf(&t, "| %s | %.1f | %.1f× |\n", w.name, median(w.seconds), median(ways[0].seconds)/median(w.seconds))
	}
	fmt.Println(t.String())
	if *update {
		writeReport(b, "push", t.String())
	}
	b.ReportMetric(median(ways[0].seconds)/median(ways[1].seconds), "times-as-fast-as-nerdctl")
}

// pushWay is one way to publish the image.
type pushWay struct {
	name    string
	push    func()
	seconds []float64
}
