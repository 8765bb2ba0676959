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
	free, total, err := diskSpace(e.node.Repo.Path())
	return pin.Usage{Blocks: used, Free: free, Total: total}, err
}

// diskSpace returns the free bytes of the file system of path, and all that can
// be used, as df counts them: what is held back for root, or beyond a quota, is
// neither used nor to be had.
func diskSpace(path string) (free, total uint64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, 0, fmt.Errorf("look how full the disk of %s is: %w", path, err)
	}
	block := uint64(fs.Bsize)
	free = uint64(fs.Bavail) * block //nolint:unconvert // on FreeBSD it may be negative, and of a signed type
	return free, (fs.Blocks-fs.Bfree)*block + free, nil
}
