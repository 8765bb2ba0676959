package test

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBuildkit(t *testing.T) {
	p, b := publishedImages(t), buildkitEngine(t)
	p.forEach(t, []string{"real", "multi", "scratch"}, func(t *testing.T, _, name string) {
		dir, out := buildContext(t, name), filepath.Join(t.TempDir(), "out.tar")
		must(t, command(t.Context(), tool("buildctl"), "--addr", b.address, "build", "--no-cache", "--progress=plain", "--frontend", "dockerfile.v0",
			"--local", "context="+dir, "--local", "dockerfile="+dir, "--output", "type=tar,dest="+out))
		expectGreeting(t, fileInTar(t, out, "built"))
	})
}

func fileInTar(t testing.TB, path, name string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("%s has no %s", path, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimPrefix(h.Name, "./") == name {
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
	}
}
