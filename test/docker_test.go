package test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

func TestDocker(t *testing.T) {
	p, d := publishedImages(t), dockerEngine(t)
	p.forEach(t, []string{"real", "multi", "scratch"}, func(t *testing.T, _, name string) {
		t.Cleanup(func() { d.forget(t, name) })
		must(t, d.cmd(t, "pull", "--quiet", name))
		expectGreeting(t, must(t, d.cmd(t, "run", "--rm", "--net=host", name)))
	})
}

// forget removes an image and its layers, so that the next pull fetches.
func (d *docker) forget(t testing.TB, image string) {
	cmd := command(context.Background(), "/usr/bin/docker", "--host", d.host, "image", "rm", "--force", image)
	if _, err := output(cmd); err != nil {
		t.Error(err)
	}
}

func TestDockerBuild(t *testing.T) {
	p, d := publishedImages(t), dockerEngine(t)
	for builder, env := range map[string]string{"classic": "DOCKER_BUILDKIT=0", "buildkit": "DOCKER_BUILDKIT=1"} {
		t.Run(builder, func(t *testing.T) {
			p.forEach(t, []string{"real", "scratch"}, func(t *testing.T, _, name string) {
				image := "built/" + namespaceOf(t)
				build := d.cmd(t, "build", "--network=host", "--pull", "--no-cache", "--tag", image, buildContext(t, name))
				build.Env = append(build.Env, env)
				must(t, build)
				expectGreeting(t, must(t, d.cmd(t, "run", "--rm", "--net=host", "--entrypoint=/bin/cat", image, "/built")))
				d.forget(t, image)
			})
		})
	}
}

// buildContext is a directory with a Dockerfile that builds on name.
func buildContext(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	lines := "FROM " + name + "\nRUN echo " + greeting + " > /built\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
