package test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// coldStarts is how many daemons are asked for each form, all new.
	coldStarts = 5
	// archiveRounds is how often an archive and a layout take turns.
	archiveRounds = 12
	// askedAgain is how often each is asked after its first answer.
	askedAgain = 20
)

// BenchmarkForms times the first manifest of each form out of local blocks, as
// the client of a daemon that was just started sees it, and those after.
func BenchmarkForms(b *testing.B) {
	k := kuboNode(b)
	names := formNames(b, k)
	layer := filepath.Join(b.TempDir(), "app.tar")
	must(b, command(b.Context(), "tar", "-C", shared.dir, "-cf", layer, filepath.Base(shared.program)))
	names["ocipfs layer"] = "/layer/" + push(b, tempDir(b), "--ipfs-address", k.api, "--layer", layer) + ":app.tar"
	k.stop()
	// Kubo's repository is one of ours.
	first, again := map[string][]float64{}, map[string][]float64{}
	for b.Loop() {
		for range coldStarts {
			for form, name := range names {
				f, a := timeManifest(b, k.repo, name)
				first[form], again[form] = append(first[form], f), append(again[form], a...)
			}
		}
	}
	var t strings.Builder
	t.WriteString("| form | first manifest, p50 ms | after, p50 ms |\n| --- | --- | --- |\n")
	for _, form := range slices.Sorted(maps.Keys(names)) {
		fmt.Fprintf(&t, "| %s | %.2f | %.2f |\n", form, 1000*median(first[form]), 1000*median(again[form]))
		b.ReportMetric(1000*median(first[form]), "ms-"+strings.ReplaceAll(form, " ", "-"))
	}
	fmt.Println(t.String())
	if *update {
		writeReport(b, "forms", t.String())
	}
}

// timeManifest starts a daemon and returns how long its first answer about a
// manifest takes, and those after, in seconds.
func timeManifest(b *testing.B, repo, name string) (first float64, again []float64) {
	b.Helper()
	d := serve(b, repo, "--offline")
	defer d.stop()
	repository, tag, tagged := strings.Cut(name, ":")
	if !tagged {
		tag = "latest"
	}
	if a := request(b, http.MethodGet, "http://"+d.host+"/v2/"); a.StatusCode != http.StatusOK { // as clients begin
		b.Fatal(a.Status)
	}
	ask := func() float64 {
		began := time.Now()
		if a := request(b, http.MethodGet, "http://"+d.host+"/v2"+repository+"/manifests/"+tag); a.StatusCode != http.StatusOK {
			b.Fatalf("%s: %s: %s", name, a.Status, a.body)
		}
		return time.Since(began).Seconds()
	}
	first = ask()
	for range askedAgain {
		again = append(again, ask())
	}
	return first, again
}

// BenchmarkArchives compares how fast one layer is served out of an archive of
// docker save and out of an OCI image layout, both warm.
func BenchmarkArchives(b *testing.B) {
	images, dir := testImages(b), b.TempDir()
	k := kuboNode(b)
	plain := filepath.Join(dir, "plain")
	must(b, command(b.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", images.real.spec(), "docker-archive:"+dir+"/docker.tar:real:v1"))
	must(b, command(b.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", "docker-archive:"+dir+"/docker.tar", "oci:"+plain+":"+imageTag, "--dest-compress=false", "--dest-oci-accept-uncompressed-layers"))
	add := func(name string) string {
		return lastLine(must(b, k.ipfs(b, "add", "-r", "-Q", "--cid-version=1", "--chunker=size-1048576", filepath.Join(dir, name))))
	}
	archive, layout := add("docker.tar"), add("plain")
	k.stop()
	d := serve(b, k.repo, "--offline")
	speed := map[string][]float64{}
	for b.Loop() {
		order := []string{archive, layout}
		for range archiveRounds {
			slices.Reverse(order)
			for _, cid := range order {
				speed[cid] = append(speed[cid], d.throughput(b, cid))
			}
		}
	}
	b.ReportMetric(median(speed[archive])/median(speed[layout]), "of-the-layout")
	text := fmt.Sprintf("| one layer, warm | MB/s |\n| --- | --- |\n| OCI image layout | %.0f |\n| archive of docker save | %.0f, %.2f× |\n",
		median(speed[layout]), median(speed[archive]), median(speed[archive])/median(speed[layout]))
	fmt.Println(text)
	if *update {
		writeReport(b, "archives", text)
	}
}

// throughput is how fast the first layer of an image is served, in MB/s.
func (d *daemon) throughput(b *testing.B, cid string) float64 {
	b.Helper()
	var m ocispec.Manifest
	if a := request(b, http.MethodGet, d.url("%s/manifests/latest", cid)); json.Unmarshal(a.body, &m) != nil || len(m.Layers) == 0 {
		b.Fatalf("%s: %s", a.Status, a.body)
	}
	began := time.Now()
	res, err := http.Get(d.url("%s/blobs/%s", cid, m.Layers[0].Digest))
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil || n != m.Layers[0].Size {
		b.Fatalf("%s: %d bytes, %v", res.Status, n, err)
	}
	return float64(n) / 1e6 / time.Since(began).Seconds()
}
