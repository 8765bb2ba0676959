package test

import (
	"strings"
	"testing"
)

func TestContainerd(t *testing.T) {
	p, c := publishedImages(t), containerdEngine(t)
	p.forEach(t, []string{"real", "multi", "scratch"}, func(t *testing.T, _, name string) {
		namespace := namespaceOf(t)
		must(t, c.nerdctl(t, namespace, "pull", "--quiet", name))
		expectGreeting(t, must(t, c.nerdctl(t, namespace, "run", "--rm", "--net=host", "--pull=never", name)))
	})
}

func TestCtr(t *testing.T) {
	p, c := publishedImages(t), containerdEngine(t)
	p.forEach(t, []string{"real", "multi"}, func(t *testing.T, image, name string) {
		namespace := namespaceOf(t)
		must(t, c.ctr(t, namespace, "images", "pull", "--plain-http", name+":latest"))
		expectGreeting(t, must(t, c.ctr(t, namespace, "run", "--rm", "--net-host", name+":latest", "greeter-"+namespace)))
	})
}

// Kubernetes and careful people pull by digest.
func TestContainerdByDigest(t *testing.T) {
	p, c := publishedImages(t), containerdEngine(t)
	p.forEach(t, []string{"scratch"}, func(t *testing.T, _, name string) {
		cid := name[strings.LastIndex(name, "/")+1:]
		name += "@" + p.descriptor(t, cid, "latest").Digest.String()
		expectGreeting(t, must(t, c.nerdctl(t, namespaceOf(t), "run", "--rm", "--net=host", "--quiet", name)))
	})
}

// namespaceOf is a containerd namespace of the test's own. Content is not
// shared between namespaces, so every pull in one fetches.
func namespaceOf(t testing.TB) string {
	t.Helper()
	return strings.ToLower(strings.NewReplacer("/", "-", "_", "-", " ", "-", "#", "-").Replace(t.Name()))
}

func expectGreeting(t testing.TB, out string) {
	t.Helper()
	if !strings.Contains(out, greeting) {
		t.Errorf("the container printed %q; want %q", out, greeting)
	}
}
