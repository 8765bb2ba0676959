package test

import (
	"path/filepath"
	"strings"
	"testing"
)

// On a terminal a push shows each layer; without one it shows no progress.
func TestProgressOnATerminal(t *testing.T) {
	endToEnd(t)
	l := testImages(t).real
	push := cli(t.Context(), filepath.Join(tempDir(t), "repo"), "push", l.spec())
	terminal := must(t, command(t.Context(), "script", "--quiet", "--return", "--command", strings.Join(push.Args, " "), "/dev/null"))
	plain, err := cli(t.Context(), filepath.Join(tempDir(t), "repo"), push.Args[3:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, plain)
	}
	for _, layer := range l.manifest(t).Layers {
		if !strings.Contains(terminal, layer.Digest.String()) {
			t.Errorf("the terminal shows nothing of %s: %q", layer.Digest, terminal)
		}
		if strings.Contains(string(plain), layer.Digest.String()) {
			t.Errorf("without a terminal there is progress: %q", plain)
		}
	}
}
