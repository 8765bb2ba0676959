package test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// storage keeps what podman and buildah store in a directory of the test's.
func storage(t testing.TB, program string) func(args ...string) *exec.Cmd {
	dir := tempDir(t)
	return func(args ...string) *exec.Cmd {
		return command(t.Context(), program, append([]string{
			"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "overlay"}, args...)...)
	}
}

func TestPodmanPull(t *testing.T) {
	p := publishedImages(t)
	p.forSome(t, func(t *testing.T, _, name string) {
		podman := storage(t, "podman")
		id := lastLine(must(t, podman("pull", "--quiet", "--tls-verify=false", name)))
		out := must(t, podman("image", "inspect", "--format", "{{.Id}} {{.Config.Entrypoint}}", name))
		if !strings.HasPrefix(out, id+" [") {
			t.Errorf("podman pulled %q and inspects %q", id, out)
		}
	})
}

func TestBuildahFrom(t *testing.T) {
	p := publishedImages(t)
	p.forSome(t, func(t *testing.T, image, name string) {
		buildah := storage(t, "buildah")
		container := lastLine(must(t, buildah("from", "--quiet", "--tls-verify=false", name)))
		root := lastLine(must(t, buildah("mount", container)))
		path := "bin/busybox"
		if image == "real" {
			path = "usr/local/bin/greet"
		}
		must(t, exec.Command("test", "-x", filepath.Join(root, path)))
		must(t, buildah("umount", container))
	})
}
