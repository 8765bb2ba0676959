package main

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// systemd hands over the socket of the registry, hears when the daemon is ready
// and when it stops, and the daemon's exit status is 0.
func TestSystemd(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// A client that comes before the daemon waits.
	early := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String() + "/v2/")
		if err == nil {
			err = resp.Body.Close()
		}
		early <- err
	}()
	states := notifications(t, filepath.Join(dir, "notify"))
	cmd := serveProcess(t, dir, l)
	waitFor(t, states, "READY=1")
	select {
	case err := <-early:
		if err != nil {
			t.Errorf("the early client: %v", err)
		}
	case <-time.After(limit):
		t.Error("the early client got no answer")
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, states, "STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// A request in flight holds up the end, until somebody asks a second time.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	states := notifications(t, filepath.Join(dir, "notify"))
	cmd := serveProcess(t, dir, l)
	waitFor(t, states, "READY=1")
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	// A request whose header has no end.
	if _, err := c.Write([]byte("GET /v2/ HTTP/1.1\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, states, "STOPPING=1")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Success() {
		t.Errorf("ended with %v, want by the signal", err)
	}
}

// serveProcess starts the program as systemd does, l being the third file.
func serveProcess(t *testing.T, dir string, l net.Listener) *exec.Cmd {
	t.Helper()
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		t.Fatal("no TCP listener")
	}
	file, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	// Only a shell knows the process id that the program will have.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `LISTEN_PID=$$ exec ipfs-registry serve --offline --admin none`)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=registry",
		"NOTIFY_SOCKET="+filepath.Join(dir, "notify"), "IPFS_REGISTRY_REPO="+filepath.Join(dir, "repo"))
	cmd.ExtraFiles = []*os.File{file}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	_ = l.Close()
	return cmd
}

// notifications receives what is sent to NOTIFY_SOCKET.
func notifications(t *testing.T, path string) <-chan string {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	states := make(chan string, 8)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			states <- string(buf[:n])
		}
	}()
	return states
}

func waitFor(t *testing.T, states <-chan string, want string) {
	t.Helper()
	deadline := time.After(limit)
	for {
		select {
		case s := <-states:
			if strings.Contains(s, want) {
				return
			}
		case <-deadline:
			t.Fatalf("systemd was not told %s", want)
		}
	}
}
