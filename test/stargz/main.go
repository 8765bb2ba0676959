// Command stargz runs stargz-snapshotter as a proxy plugin of containerd.
//
// stargz-snapshotter's own program is in a module that the module proxy does
// not have. Its parts are there: the snapshotter with its FUSE file system, and
// the IPFS client that makes the calls of "ipfs = true". This only joins them.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	stargzfs "github.com/containerd/stargz-snapshotter/fs"
	"github.com/containerd/stargz-snapshotter/fs/remote"
	"github.com/containerd/stargz-snapshotter/ipfs"
	"github.com/containerd/stargz-snapshotter/ipfs/client"
	"github.com/containerd/stargz-snapshotter/service"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
)

func main() {
	root := flag.String("root", "", "directory for mounts and cache")
	address := flag.String("address", "", "Unix socket to serve on")
	repo := flag.String("ipfs", "", "IPFS repository whose API file names the RPC; empty: no IPFS")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *root, *address, *repo); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, root, address, repo string) error {
	config := &service.Config{}
	// Nothing is fetched that nobody read, so that a test sees what is lazy.
	config.NoPrefetch, config.NoBackgroundFetch = true, true
	var o []service.Option
	if repo != "" {
		o = append(o, service.WithFilesystemOptions(stargzfs.WithResolveHandler("ipfs", handler{repo})))
	}
	snapshotter, err := service.NewStargzSnapshotterService(ctx, root, config, o...)
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", address)
	if err != nil {
		return errors.Join(err, snapshotter.Close())
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	context.AfterFunc(ctx, server.Stop)
	return errors.Join(server.Serve(l), snapshotter.Close())
}

// handler reads layers whose descriptors have an ipfs:// URL.
type handler struct{ repo string }

func (h handler) Handle(_ context.Context, desc ocispec.Descriptor) (remote.Fetcher, int64, error) {
	c, err := ipfs.GetCID(desc)
	if err != nil {
		return nil, 0, err
	}
	api, err := client.GetIPFSAPIAddress(h.repo, "http")
	if err != nil {
		return nil, 0, err
	}
	f := fetcher{client.New(api), c}
	info, err := f.client.StatCID(c)
	if err != nil {
		return nil, 0, err
	}
	return f, int64(info.Size), nil
}

type fetcher struct {
	client *client.Client
	c      string
}

func (f fetcher) Fetch(_ context.Context, off, size int64) (io.ReadCloser, error) {
	from, n := int(off), int(size)
	return f.client.Get("/ipfs/"+f.c, &from, &n)
}

func (f fetcher) Check() error {
	_, err := f.client.StatCID(f.c)
	return err
}

func (f fetcher) GenID(off, size int64) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s-%d-%d", f.c, off, size)))
}
