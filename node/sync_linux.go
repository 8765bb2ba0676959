package node

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncFilesystem writes everything of the file system that dir is on through
// to the disk: one call, where a call for each block would take a seek each.
func syncFilesystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("syncfs %s: %w", dir, err)
	}
	return nil
}
