package test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A push that is killed, at whatever moment, leaves a repository that opens,
// and the push can be repeated and gives the CID it would have given.
func TestKilledPush(t *testing.T) {
	images := testImages(t)
	whole := tempDir(t)
	began := time.Now()
	want := push(t, whole, images.real.spec())
	lasts := time.Since(began)
	repo := tempDir(t)
	for range 8 {
		p := start(t, "push", cli(t.Context(), repo, "push", images.real.spec()))
		select {
		case <-time.After(rand.N(lasts)):
		case <-p.done:
		}
		if err := p.signal(syscall.SIGKILL, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if got := push(t, repo, images.real.spec()); got != want {
		t.Errorf("the repeated push gave %s; want %s", got, want)
	}
	d := serve(t, repo)
	must(t, command(t.Context(), tool("crane"), "validate", "--remote", d.name(want)))
}

// The same with the daemon in between: killed under a push, it starts again.
func TestKilledDaemon(t *testing.T) {
	images := testImages(t)
	repo := tempDir(t)
	for i := range 3 {
		d := serve(t, repo)
		p := start(t, "push", cli(t.Context(), repo, "push", images.real.spec()))
		select {
		case <-time.After(time.Duration(i+1) * 150 * time.Millisecond):
		case <-p.done:
		}
		if err := d.signal(syscall.SIGKILL, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.done:
		case <-time.After(30 * time.Second):
			t.Fatal("the push waits for a daemon that is gone")
		}
	}
	d := serve(t, repo)
	must(t, command(t.Context(), tool("crane"), "validate", "--remote", d.name(push(t, repo, images.real.spec()))))
}

// A push onto a full disk fails and says so. What was there before is served,
// and with room the push succeeds.
func TestFullDisk(t *testing.T) {
	images := testImages(t)
	disk := tempDir(t)
	mount := func(flags uintptr, size string) {
		t.Helper()
		if err := syscall.Mount("tmpfs", disk, "tmpfs", flags, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
	mount(0, "64m")
	repo := filepath.Join(disk, "repo")
	small := push(t, repo, images.scratch.spec())

	for _, online := range []bool{false, true} {
		name := "alone"
		if online {
			name = "beside the daemon"
		}
		t.Run(name, func(t *testing.T) {
			if online {
				serve(t, repo)
			}
			cmd := cli(t.Context(), repo, "push", images.real.spec())
			out, err := cmd.CombinedOutput()
			if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(lastLine(string(out)), "no space left") {
				t.Errorf("%v, %s; want status 1 and why", err, out)
			}
		})
	}
	d := serve(t, repo)
	must(t, command(t.Context(), tool("crane"), "validate", "--remote", d.name(small)))
	mount(syscall.MS_REMOUNT, "512m")
	cid := push(t, repo, images.real.spec())
	must(t, command(t.Context(), tool("crane"), "validate", "--remote", d.name(cid)))
	d.terminate(t)
}

// The memory of a push does not grow with the image, whether or not it converts
// the layers.
func TestPushMemory(t *testing.T) {
	images := testImages(t)
	large := filepath.Join(t.TempDir(), "large")
	if err := makeLayout(large, func(w *layoutWriter) error {
		l, err := w.randomLayer(1 << 30)
		if err != nil {
			return err
		}
		m, err := w.image(platform("amd64"), []string{"/none"}, l)
		return w.tag(m, err)
	}); err != nil {
		t.Fatal(err)
	}
	peak := func(l string, flags ...string) (most int64) {
		p := start(t, "push", cli(t.Context(), tempDir(t), append([]string{"push", "oci:" + l + ":" + imageTag}, flags...)...))
		for {
			select {
			case <-p.done:
				if p.err != nil || most == 0 {
					t.Fatalf("the push of %s ended with %v, at most %d bytes", l, p.err, most)
				}
				return most
			case <-time.After(5 * time.Millisecond):
				most = max(most, p.peakMemory(t))
			}
		}
	}
	for _, flags := range [][]string{nil, {"--estargz"}, {"--zstd-chunked"}} {
		of130, of1000 := peak(images.real.dir, flags...), peak(large, flags...)
		t.Logf("peak memory %v: %d MiB for 130 MB, %d MiB for 1 GiB", flags, of130>>20, of1000>>20)
		if of1000 > of130+64<<20 || of1000 > 300<<20 {
			t.Errorf("the push %v of 1 GiB took %d MiB at its peak, that of 130 MB %d MiB", flags, of1000>>20, of130>>20)
		}
	}
	if err := os.RemoveAll(large); err != nil {
		t.Error(err)
	}
}
