package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program in the background, in a process group of its own.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *logFile
	done chan struct{} // closed when it has ended
	err  error         // how, once done
}

// launch starts cmd with its output in a log.
func launch(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, log: &logFile{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.WaitDelay = 5 * time.Second // children may hold the log open
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// peakMemory is the most that has been resident of the process so far, in bytes;
// 0 when it has ended. Its resource usage won't do: that counts what the parent
// had when it made the process.
func (p *process) peakMemory(t testing.TB) int64 {
	t.Helper()
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	return 0
}

// start starts cmd for one test, which stops it, and shows what it said if the
// test failed.
func start(t testing.TB, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p, err := launch(name, cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.log.tail(16<<10))
		}
	})
	return p
}

// startShared starts cmd for all tests.
func startShared(name string, cmd *exec.Cmd) (*process, error) {
	p, err := launch(name, cmd)
	if err == nil {
		shared.onClose(p.stop)
	}
	return p, err
}

// signal sends sig and waits until the process has ended.
func (p *process) signal(sig syscall.Signal, within time.Duration) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(within):
		return fmt.Errorf("%s goes on %s after %s", p.name, within, sig)
	}
}

func (p *process) stop() {
	if p.signal(syscall.SIGTERM, 20*time.Second) == nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // its group; it may be gone by now
	select {
	case <-p.done:
	case <-time.After(5 * time.Second): // nothing is left to try
	}
}

// ready waits until check has nothing to complain of.
func (p *process) ready(within time.Duration, check func() error) error {
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %w\n%s", p.name, p.err, p.log.tail(8<<10))
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %s: %w\n%s", p.name, within, err, p.log.tail(8<<10))
		}
	}
}

// logFile keeps what a program says.
type logFile struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logFile) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logFile) tail(n int) string {
	s := l.String()
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// command is a command with a directory of the run as its home, so that no
// setting of the user has a say.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environment()
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// environment is that of every program. Ours speaks to the public network only
// if a test tells it to.
func environment() []string {
	return []string{
		"HOME=" + filepath.Join(shared.dir, "home"),
		"PATH=" + filepath.Join(shared.cache, "bin") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LC_ALL=C.UTF-8",
		"IPFS_REGISTRY_BOOTSTRAP=none",
	}
}

// output runs a command to its end and returns what it printed. With an error
// comes all that it said.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, all bytes.Buffer
	lock := &sync.Mutex{}
	cmd.Stdout = lockedWriter{lock, io.MultiWriter(&stdout, &all)}
	cmd.Stderr = lockedWriter{lock, &all}
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, all.String())
	}
	return stdout.String(), nil
}

type lockedWriter struct {
	*sync.Mutex
	io.Writer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.Lock()
	defer w.Unlock()
	return w.Writer.Write(p)
}

// must runs a command that a test needs to succeed, and returns what it printed.
func must(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	out, err := output(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// lastLine is where commands print their result.
func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// freePort returns a port that nobody listens on, on either loopback address, and
// nobody was given before. It is one of those that the kernel gives to nobody who
// does not ask for it, so that it stays free until it is used.
func freePort() (string, error) {
	for range 100 {
		port := strconv.Itoa(20_000 + rand.N(12_000))
		if isFree("127.0.0.1:"+port) && isFree("[::1]:"+port) && shared.ports.give(port) {
			return port, nil
		}
	}
	return "", errors.New("no port is free")
}

// givenPorts are those that a test has, though it may not listen on it yet.
type givenPorts struct{ sync.Map }

// give returns false if the port was given before.
func (g *givenPorts) give(port string) bool {
	_, given := g.LoadOrStore(port, true)
	return !given
}

func isFree(address string) bool {
	l, err := net.Listen("tcp", address)
	if err == nil {
		l.Close()
	}
	return err == nil || errors.Is(err, syscall.EADDRNOTAVAIL)
}

func port(t testing.TB) string {
	t.Helper()
	p, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// httpOK is a check that the URL answers with a status below 500.
func httpOK(url string) func() error {
	client := &http.Client{Timeout: 2 * time.Second}
	return func() error {
		res, err := client.Get(url)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode >= http.StatusInternalServerError {
			body, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // for the message only
			return fmt.Errorf("%s: %s %s", url, res.Status, body)
		}
		return nil
	}
}

// succeeds is a check that a command succeeds.
func succeeds(name string, args ...string) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, err := output(command(ctx, name, args...))
		return err
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// unmountBelow unmounts what engines have left mounted on dir and in it.
func unmountBelow(dir string) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4]+"/", dir+"/") {
			_ = syscall.Unmount(fields[4], syscall.MNT_DETACH) // the next line may be below it
		}
	}
}
