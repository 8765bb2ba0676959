//go:build unix

package node

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lockHolder is the ID of the process that holds Kubo's lock, or 0 if nobody
// does. It must not be called by the holder: see inUse.
func lockHolder(file string) int {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil || lock.Type == unix.F_UNLCK {
		return 0
	}
	return int(lock.Pid)
}
