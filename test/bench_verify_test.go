package test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkVerify reads an image of 1 GiB with "pin verify" and the same block
// files with sha256sum, in turns. The first verification compares the blobs with
// their digests too.
func BenchmarkVerify(b *testing.B) {
	endToEnd(b)
	large := filepath.Join(b.TempDir(), "large")
	if err := makeLayout(large, func(w *layoutWriter) error {
		l, err := w.randomLayer(1 << 30)
		if err != nil {
			return err
		}
		m, err := w.image(platform("amd64"), []string{"/none"}, l)
		return w.tag(m, err)
	}); err != nil {
		b.Fatal(err)
	}
	d := serve(b, tempDir(b))
	cid := push(b, d.repo, "oci:"+large+":"+imageTag)
	files := strings.Join(blockFiles(b, d.repo, 1), "\n")
	timed := func(cmd *exec.Cmd) float64 {
		b.Helper()
		began := time.Now()
		must(b, cmd)
		return time.Since(began).Seconds()
	}
	sums := func() float64 {
		cmd := command(b.Context(), "xargs", "sha256sum")
		cmd.Stdin = strings.NewReader(files)
		return timed(cmd)
	}
	verify := func(flags ...string) *exec.Cmd {
		return cli(b.Context(), d.repo, append([]string{"pin", "verify", "--json", cid}, flags...)...)
	}
	for b.Loop() {
		var theirs, first, ours, alone []float64
		theirs = append(theirs, sums())
		first = append(first, timed(verify()))
		for range rounds {
			theirs = append(theirs, sums())
			ours = append(ours, timed(verify()))
			alone = append(alone, timed(verify("--workers", "1")))
		}
		b.ReportMetric(median(theirs)/first[0], "first-x-sha256sum")
		b.ReportMetric(median(theirs)/median(ours), "again-x-sha256sum")
		b.ReportMetric(median(theirs)/median(alone), "one-worker-x-sha256sum")
	}
	var all []struct{ Bytes int64 }
	if err := json.Unmarshal([]byte(must(b, verify())), &all); err != nil || len(all) != 1 || all[0].Bytes < 1<<30 {
		b.Errorf("%v, %v", all, err)
	}
	c := &contender{running: []*process{d.process}}
	b.ReportMetric(c.memory(b, "VmHWM"), "MiB-peak")
}
