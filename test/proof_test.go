package test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// blockFiles are the files of the blocks of a repository, in which large ones
// are the leaves of layers.
func blockFiles(t testing.TB, repo string, atLeast int64) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join(repo, "blocks"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".data" {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() >= atLeast {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("%s has no blocks of %d bytes", repo, atLeast)
	}
	return files
}

// rot changes one byte in the middle of a file, which keeps its size.
func rot(t testing.TB, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Every large block of an image rots on the disk, under the daemon that served
// it and before one that starts. What clients get is a 502 that names the blob,
// and with a peer that has the image the image.
func TestDamagedBlocksAreNeverServed(t *testing.T) {
	images := testImages(t)
	origin := serve(t, tempDir(t))
	cid := push(t, origin.repo, images.real.spec())
	repo := tempDir(t)
	d := serve(t, repo, "--fetch-timeout", "1s")
	push(t, repo, images.real.spec())
	layers := images.real.manifest(t).Layers

	whole := func(d *daemon, methods ...string) (bad int) {
		t.Helper()
		for _, l := range layers {
			for _, method := range methods {
				a := request(t, method, d.url("%s/blobs/%s", cid, l.Digest))
				switch {
				case a.StatusCode == http.StatusOK && method == "HEAD":
				case a.StatusCode == http.StatusOK && digest.FromBytes(a.body) == l.Digest:
				case a.StatusCode == http.StatusBadGateway:
					bad++
					if method == "GET" && (a.code() != "DIGEST_INVALID" || !strings.Contains(string(a.body), l.Digest.String())) {
						t.Errorf("%s; want DIGEST_INVALID and %s", a.body, l.Digest)
					}
				default:
					t.Errorf("%s of %s: %s with %d bytes", method, l.Digest, a.Status, len(a.body))
				}
			}
		}
		return bad
	}
	if bad := whole(d, "GET"); bad != 0 {
		t.Fatalf("%d of the sound layers are bad", bad)
	}
	for _, path := range blockFiles(t, repo, 1<<20) {
		rot(t, path)
	}
	if bad := whole(d, "GET"); bad == 0 {
		t.Error("no damage was found under the daemon")
	}
	for _, pos := range []int64{0, 5 << 20, layers[0].Size - 2<<20} {
		expectRangeRefused(t, d, cid, layers[0].Digest, pos)
	}
	d.terminate(t)
	d = serve(t, repo, "--fetch-timeout", "3s")
	if bad := whole(d, "HEAD", "GET"); bad == 0 {
		t.Error("no damage was found by the next daemon")
	}
	if a := request(t, "GET", "http://"+d.admin+"/metrics"); !strings.Contains(string(a.body), "ipfs_registry_damaged_blocks_total ") ||
		strings.Contains(string(a.body), "ipfs_registry_damaged_blocks_total 0\n") {
		t.Error("the metrics do not count the damage")
	}
	expectVerified(t, d, cid, "damaged")
	must(t, cli(t.Context(), repo, "swarm", "connect", origin.address(t)))
	expectVerified(t, d, cid, "repaired")
	expectVerified(t, d, cid, "sound")
	if bad := whole(d, "GET"); bad != 0 {
		t.Errorf("with a peer that has them, %d layers are bad", bad)
	}
	d.terminate(t)
	if bad := whole(serve(t, repo, "--offline"), "HEAD", "GET"); bad != 0 {
		t.Errorf("after the peer's blocks came, %d layers are bad", bad)
	}
}

// expectVerified verifies all images, of which one has that result, and looks for
// it in the list of what is kept.
func expectVerified(t *testing.T, d *daemon, cid, result string) {
	t.Helper()
	out, err := output(cli(t.Context(), d.repo, "pin", "verify", "--all"))
	if (err != nil) != (result == "damaged") || !strings.Contains(out, cid+"  "+result) {
		t.Errorf("pin verify: %s (%v); want %s", out, err, result)
	}
	if list := must(t, cli(t.Context(), d.repo, "pin", "ls")); !strings.Contains(list, " "+result+" 20") {
		t.Errorf("pin ls: %s; want %s", list, result)
	}
}

// A range of a damaged block is either refused or not begun.
func expectRangeRefused(t *testing.T, d *daemon, cid string, dgst digest.Digest, pos int64) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", d.url("%s/blobs/%s", cid, dgst), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Range", "bytes="+strconv.FormatInt(pos, 10)+"-"+strconv.FormatInt(pos+100, 10))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return // cut off before the head was sent
	}
	defer res.Body.Close()
	var got bytes.Buffer
	if n, err := got.ReadFrom(res.Body); res.StatusCode == http.StatusPartialContent && err == nil && n == 101 {
		t.Errorf("101 bytes at %d of a damaged block were served", pos)
	}
}

// What a client sees of damage that nobody can mend, by where it is in what it
// asks for; and what nothing needs goes with the garbage, damaged or not.
func TestDamageByPlace(t *testing.T) {
	const block, size = 1 << 20, 140 << 20
	image, layer := layout{dir: filepath.Join(tempDir(t), "layout")}, digest.Digest("")
	if err := makeLayout(image.dir, func(w *layoutWriter) error {
		random, err := w.randomLayer(size)
		layer = random.desc.Digest
		if err != nil {
			return err
		}
		m, err := w.image(platform("amd64"), []string{"/none"}, random)
		return w.tag(m, err)
	}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(image.blob(layer))
	if err != nil {
		t.Fatal(err)
	}
	repo := tempDir(t)
	cid := push(t, repo, "oci:"+image.dir+":"+imageTag)
	for name, c := range map[string]struct {
		at     int64 // of the damaged block
		method string
		span   string
		first  int // the status of the first request, and of a second one
		then   int
	}{
		"whole, in its first block":        {0, "GET", "", 502, 502},
		"whole, in the middle":             {60 * block, "GET", "", 502, 502},
		"whole, late":                      {135 * block, "GET", "", 200, 502},
		"HEAD, in the middle":              {60 * block, "HEAD", "", 502, 502},
		"range, in its block":              {60 * block, "GET", "bytes=62914570-62914670", 502, 502},
		"range, in its second block":       {60 * block, "GET", "bytes=62914500-62914670", 502, 502},
		"range, late, in its block":        {135 * block, "GET", "bytes=141557770-", 502, 502},
		"range, far behind its beginning":  {135 * block, "GET", "bytes=10-", 206, 502},
		"range, from the end":              {139 * block, "GET", "bytes=-3000", 502, 502},
		"HEAD of a range":                  {60 * block, "HEAD", "bytes=62914570-62914670", 502, 502},
		"range elsewhere":                  {60 * block, "GET", "bytes=10-100", 206, 206},
		"whole, late, as a client goes on": {135 * block, "GET", "again", 200, 502},
	} {
		t.Run(name, func(t *testing.T) {
			file := fileOf(t, repo, data[c.at:c.at+block])
			sound, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			rot(t, file)
			d := serve(t, repo, "--offline")
			span := strings.TrimPrefix(c.span, "again")
			n := expectDamaged(t, d, cid, layer, c.method, span, c.first)
			if c.span == "again" {
				span = fmt.Sprintf("bytes=%d-", n)
			}
			expectDamaged(t, d, cid, layer, c.method, span, c.then)
			d.terminate(t)
			if err := os.WriteFile(file, sound, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
	rot(t, fileOf(t, repo, data[:block]))
	d := serve(t, repo, "--offline")
	expectDamaged(t, d, cid, layer, "GET", "", 502)
	must(t, cli(t.Context(), repo, "pin", "rm", cid))
	if f := collect(t, repo); f.Bytes < int64(len(data)) {
		t.Errorf("freed %+v; want the damaged block among it", f)
	}
	d.terminate(t)
	if f := collect(t, repo, "--dry-run"); f.Blocks > 0 {
		t.Errorf("another process would free %+v", f)
	}
}

// fileOf is the file of a block.
func fileOf(t *testing.T, repo string, data []byte) string {
	t.Helper()
	for _, path := range blockFiles(t, repo, int64(len(data))) {
		if got, err := os.ReadFile(path); err == nil && bytes.Equal(got, data) {
			return path
		}
	}
	t.Fatal("no block has the bytes")
	return ""
}

// expectDamaged asks for a blob, or a range of it, that has a damaged block, and
// returns how many bytes came. With a 502 the digest is named; without it not
// one byte of the block may come, and the answer is cut off if the block is in it.
func expectDamaged(t *testing.T, d *daemon, cid string, dgst digest.Digest, method, span string, status int) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, d.url("%s/blobs/%s", cid, dgst), nil)
	if err != nil {
		t.Fatal(err)
	}
	if span != "" {
		req.Header.Set("Range", span)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != status {
		t.Errorf("%s %s: %s; want %d", method, span, res.Status, status)
	}
	body, err := io.ReadAll(res.Body)
	a := answer{res, body}
	switch {
	case res.StatusCode == http.StatusBadGateway && method == "GET":
		if a.code() != "DIGEST_INVALID" || !strings.Contains(string(body), dgst.String()) {
			t.Errorf("%s; want DIGEST_INVALID and %s", body, dgst)
		}
	case len(body) > 1000 && err == nil:
		t.Errorf("%s %s: all of %d bytes came", method, span, len(body))
	}
	return len(body)
}
