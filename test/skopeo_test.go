package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// The whole image, all platforms, to an OCI image layout with its digests as
// they were. (In the form of nerdctl, layers have URLs, and those skopeo leaves
// where they are when the destination is a layout; see below for that form.)
func TestSkopeoCopy(t *testing.T) {
	p := publishedImages(t)
	for image, l := range testImages(t).byName() {
		t.Run(image, func(t *testing.T) {
			dir := t.TempDir()
			must(t, command(t.Context(), "skopeo", "--insecure-policy", "copy", "--all", "--quiet", "--preserve-digests", "--src-tls-verify=false",
				"docker://"+p.name(p.layouts[image]), "oci:"+dir+":"+imageTag))
			if got, err := rootOf(dir); err != nil || got.Digest != l.desc.Digest {
				t.Errorf("the digest became %s (%v); it was %s", got.Digest, err, l.desc.Digest)
			}
		})
	}
}

func TestSkopeoInspect(t *testing.T) {
	p := publishedImages(t)
	p.forEach(t, []string{"real", "multi", "scratch"}, func(t *testing.T, _, name string) {
		var got struct {
			Digest   digest.Digest
			RepoTags []string
			Layers   []digest.Digest
		}
		out := must(t, command(t.Context(), "skopeo", "inspect", "--tls-verify=false", "docker://"+name))
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		if got.Digest.Validate() != nil || len(got.RepoTags) == 0 || len(got.Layers) == 0 {
			t.Errorf("skopeo knows too little: %s", out)
		}
	})
}

// What skopeo copies to a directory has each blob under its digest.
func TestSkopeoCopyToDirectory(t *testing.T) {
	p := publishedImages(t)
	p.forEach(t, []string{"real"}, func(t *testing.T, _, name string) {
		dir := t.TempDir()
		must(t, command(t.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "docker://"+name, "dir:"+dir))
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		blobs := 0
		for _, e := range entries {
			dgst := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
			if dgst.Validate() != nil {
				continue
			}
			f, err := os.Open(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			got, err := digest.SHA256.FromReader(f)
			if f.Close(); err != nil || got != dgst {
				t.Errorf("%s has the digest %s (%v)", e.Name(), got, err)
			}
			blobs++
		}
		if blobs != 4 {
			t.Errorf("%d blobs were copied; want three layers and a config", blobs)
		}
	})
}
