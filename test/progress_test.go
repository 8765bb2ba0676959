package test

import (
	"os/exec"
	"path/filepath"
	"regexp"
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

// On a terminal "pin add" shows blobs, bytes, the rate and the time that remains
// while an image comes; without one there is no more than the lines of the result.
func TestPinAddOnATerminal(t *testing.T) {
	t.Parallel() // it mostly waits
	l, _ := randomImage(t)
	s, cid := startSeed(t, l)
	slow := startToxiproxy(t).link(t, s.swarm, slowRate)
	add := func() *exec.Cmd {
		d := launchPuller(t, "--peer", slow.multiaddr(s.id))
		if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
			t.Fatal(err)
		}
		return cli(t.Context(), d.repo, "pin", "add", cid)
	}
	shown := must(t, command(t.Context(), "script", "--quiet", "--return", "--command", "stty columns 150; exec "+strings.Join(add().Args, " "), "/dev/null"))
	for what, pattern := range map[string]string{
		"blobs under way": `\d of 2 blobs`, "all blobs": `2 of 2 blobs`, "bytes": `\d+\.\d+ MiB / \d+\.\d+ MiB`,
		"the rate": `\d+\.\d+ (K|M)iB p/s`, "what remains": `ETA \d+s`, "what there is in the end": cid + ` +kept +name +\d+ +0 `,
	} {
		if !regexp.MustCompile(pattern).MatchString(shown) {
			t.Errorf("the terminal shows nothing of %s: %q", what, shown)
		}
	}
	slow.unlimited(t)
	plain, err := add().CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(plain)), "\n")
	if err != nil || len(lines) != 2 || strings.ContainsAny(string(plain), "\r\x1b") || !strings.Contains(lines[1], cid) {
		t.Errorf("without a terminal there is %q (%v); want two lines, the second of the image", plain, err)
	}
}
