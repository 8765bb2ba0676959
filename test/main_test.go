package test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestMain builds the program once and, when all is done, stops the engines
// that were shared.
func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if testing.Short() {
		shared.none = true
		return m.Run()
	}
	defer shared.close()
	if err := shared.open(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// shared is what the tests have in common. The testing package gives them no
// other way to share.
var shared world

type world struct {
	none    bool   // only tests that start nothing run
	dir     string // scratch of this run; its name is short, for sockets are in it
	cache   string // what is kept from run to run
	program string // ipfs-registry, built from this tree

	ports givenPorts

	mu    sync.Mutex
	stops []func()

	containerd once[*containerd]
	docker     once[*docker]
	buildkit   once[*buildkit]
	source     once[*source]
	images     once[*images]
	published  once[*published]
}

func (w *world) open() (err error) {
	if err = checkInstalled(); err != nil {
		return err
	}
	if w.cache, err = cacheDir(); err != nil {
		return err
	}
	if w.dir, err = os.MkdirTemp("", "ir-test-"); err != nil {
		return err
	}
	// Programs that give up root have to get at the socket and repository below.
	if err = os.Chmod(w.dir, 0o755); err != nil {
		return err
	}
	w.program = filepath.Join(w.dir, "ipfs-registry")
	build := exec.Command("go", "build", "-o", w.program, "github.com/ipfs-registry/ipfs-registry/cmd/ipfs-registry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return nil
}

// onClose registers what close does, last first.
func (w *world) onClose(stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stops = append(w.stops, stop)
}

func (w *world) close() {
	if w.dir == "" {
		return
	}
	for _, stop := range slices.Backward(w.stops) {
		stop()
	}
	unmountBelow(w.dir)
	if err := os.RemoveAll(w.dir); err != nil {
		fmt.Fprintln(os.Stderr, "clean up:", err)
	}
}

// once is a thing that is made when the first test needs it.
type once[T any] struct {
	do  sync.Once
	got T
	err error
}

func (o *once[T]) get(t testing.TB, what string, make func() (T, error)) T {
	t.Helper()
	endToEnd(t)
	o.do.Do(func() { o.got, o.err = make() })
	if o.err != nil {
		t.Fatalf("%s: %v", what, o.err)
	}
	return o.got
}

// endToEnd marks a test that "go test -short" leaves out.
func endToEnd(t testing.TB) {
	t.Helper()
	if shared.none {
		t.Skip("end to end; run without -short")
	}
}

func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "ipfs-registry-test"), err
}

// tool is the path of a program that install.sh built.
func tool(name string) string { return filepath.Join(shared.cache, "bin", name) }

// checkInstalled looks for one program of each thing that install.sh installs.
func checkInstalled() error {
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	missing := []string{}
	for _, name := range []string{"ipfs", "containerd", "containerd-shim-runc-v2", "ctr", "nerdctl", "buildkitd", "buildctl", "registry", "crane", "cosign", "ipfs-cluster-service", "stargz", "cri"} {
		if _, err := os.Stat(filepath.Join(cache, "bin", name)); err != nil {
			missing = append(missing, name)
		}
	}
	for _, path := range []string{"/usr/bin/docker", "/usr/sbin/dockerd", "runc", "ctr-remote", "skopeo", "podman", "buildah", "debootstrap", "busybox", "nginx", "wrk", "setpriv", "mkfs.ext4", "openssl", "fusermount3", "systemd-analyze"} {
		if _, err := exec.LookPath(path); err != nil {
			missing = append(missing, path)
		}
	}
	if len(missing) > 0 {
		return errors.New("not installed: " + strings.Join(missing, ", ") + "; run test/install.sh")
	}
	if os.Geteuid() != 0 {
		return errors.New("container engines and mounts need root; run the tests as root, or with -short")
	}
	return nil
}
