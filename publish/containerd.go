package publish

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	defaultContainerd = "/run/containerd/containerd.sock"
	defaultNamespace  = "default"
	// greetLimit bounds the time for containerd's first answer.
	greetLimit = 10 * time.Second
	// leaseLimit is how long containerd keeps what a process that died had put.
	leaseLimit = 24 * time.Hour
)

// dialContainerd returns a client of containerd, which has answered.
func dialContainerd(ctx context.Context, op, address, namespace string) (*containerd.Client, error) {
	if address == "" {
		address = defaultContainerd
	}
	if namespace == "" {
		namespace = defaultNamespace
	}
	hint := "check that containerd runs, and --containerd-address, which is " + quote(address)
	if err := knock(ctx, address); err != nil {
		return nil, fail(image.Unavailable, op, err, hint)
	}
	client, err := containerd.New(address, containerd.WithDefaultNamespace(namespace), containerd.WithTimeout(greetLimit))
	if err != nil {
		return nil, fail(image.Unavailable, op, err, hint)
	}
	greet, cancel := context.WithTimeout(ctx, greetLimit)
	defer cancel()
	if _, err := client.Version(greet); err != nil {
		return nil, errors.Join(fail(image.Unavailable, op, err, hint), client.Close())
	}
	return client, nil
}

// knock fails at once where nobody listens; the client would wait.
func knock(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: greetLimit}).DialContext(ctx, "unix", strings.TrimPrefix(address, "unix://"))
	if err != nil {
		return err
	}
	return conn.Close()
}

// containerdName is what nerdctl calls an image: "alpine" is
// docker.io/library/alpine:latest.
func containerdName(ref string) (string, error) {
	named, err := normalize(ref)
	if err != nil {
		return "", err
	}
	return named.String(), nil
}

// containerdError gives a class to an error of containerd.
func containerdError(op string, err error) error {
	if errdefs.IsNotFound(err) {
		return notFound(op, err, "get the image again with its content, for example with \"nerdctl pull\"")
	}
	return classed(op, err)
}
