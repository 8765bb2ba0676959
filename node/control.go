package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	controlSocket = "control.sock"
	// maxSocketPath is what fits into a sockaddr_un, with its final zero.
	maxSocketPath = 107
)

var errNotEmbedded = errors.New("the node is another process's")

// ListenControl makes the Unix socket of the repository, for ControlHandler. Only
// this user can connect to it. It replaces the socket of a daemon that crashed:
// the lock of the repository, which an embedded node holds, says that it did.
// The caller closes the listener, which removes the socket, before the node.
func (n *Node) ListenControl() (net.Listener, error) {
	e, ok := n.backing.(*embedded)
	if !ok {
		return nil, fmt.Errorf("make the control socket: %w", errNotEmbedded)
	}
	l, err := listenControl(e.node.Repo.Path())
	if err != nil {
		return nil, &image.Error{Op: "make the control socket of " + e.node.Repo.Path(), Err: err}
	}
	return l, nil
}

// listenControl binds the socket in a directory that nobody else may enter and
// moves it to its place when its mode is right, so that it is never open wide.
func listenControl(repoPath string) (net.Listener, error) {
	dir, err := os.MkdirTemp(repoPath, ".control-") // mode 0700
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l, err := listenUnix(dir)
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(repoPath, controlSocket)
	err = os.Chmod(filepath.Join(dir, controlSocket), 0o600)
	if err == nil {
		err = os.Rename(filepath.Join(dir, controlSocket), socket)
	}
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return &controlListener{Listener: l, socket: socket}, nil
}

func listenUnix(dir string) (*net.UnixListener, error) {
	path, done, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it is moved, and controlListener removes it
	return l, nil
}

// dialControl connects to the socket of the daemon of the repository.
func dialControl(ctx context.Context, dialer *net.Dialer, repoPath string) (net.Conn, error) {
	path, done, err := socketPath(repoPath)
	if err != nil {
		return nil, err
	}
	defer done()
	return dialer.DialContext(ctx, "unix", path)
}

// socketPath is a path of the socket in dir that fits into a socket address;
// it is good until done is called.
func socketPath(dir string) (path string, done func(), err error) {
	path = filepath.Join(dir, controlSocket)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	short := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	if _, err := os.Stat(short); err != nil {
		_ = f.Close()
		return "", nil, fmt.Errorf("the path %s is %d bytes long, longer than a socket's may be (%d); use a shorter --repo", path, len(path), maxSocketPath)
	}
	return short + "/" + controlSocket, func() { _ = f.Close() }, nil
}

// controlListener removes its socket when it is closed.
type controlListener struct {
	net.Listener
	socket string
}

func (l *controlListener) Close() error {
	_ = os.Remove(l.socket)
	return l.Listener.Close()
}

// WriteAPIFile tells other programs, by the file "api" of the repository, that
// APIHandler is served at addr. Close removes the file.
func (n *Node) WriteAPIFile(addr net.Addr) error {
	e, ok := n.backing.(*embedded)
	if !ok {
		return fmt.Errorf("write the api file: %w", errNotEmbedded)
	}
	ma, err := manet.FromNetAddr(addr)
	if err != nil {
		return fmt.Errorf("write the api file: %w", err)
	}
	// Clients dial what the file says.
	if manet.IsIPUnspecified(ma) {
		local := strings.NewReplacer("/ip4/0.0.0.0/", "/ip4/127.0.0.1/", "/ip6/::/", "/ip6/::1/").Replace(ma.String())
		if ma, err = multiaddr.NewMultiaddr(local); err != nil {
			return err
		}
	}
	if err := e.node.Repo.SetAPIAddr(ma); err != nil {
		return fmt.Errorf("write the api file: %w", err)
	}
	return nil
}
