//go:build unix

package node

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ipfs-registry/ipfs-registry/pin"
)

// Usage implements pin.Blocks.
func (n *Node) Usage(ctx context.Context) (pin.Usage, error) {
	e, err := n.embedded("look how full the disk is")
	if err != nil {
		return pin.Usage{}, err
	}
	used, err := e.size(ctx)
	if err != nil {
		return pin.Usage{}, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(e.node.Repo.Path(), &fs); err != nil {
		return pin.Usage{}, fmt.Errorf("look how full the disk of %s is: %w", e.node.Repo.Path(), err)
	}
	block := uint64(fs.Bsize)
	free := uint64(fs.Bavail) * block //nolint:unconvert // on FreeBSD it may be negative, and of a signed type
	return pin.Usage{Blocks: used, Free: free, Total: fs.Blocks * block}, nil
}
