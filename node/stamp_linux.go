package node

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// identify returns the number of a file and when its inode changed, in ns since
// 1970.
func identify(info os.FileInfo) (inode uint64, changed int64) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino, s.Ctim.Nano()
	}
	return 0, 0
}

// forgetCached makes the next read of a file come from the disk, as far as
// nobody else is reading it.
func forgetCached(file *os.File) {
	_ = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED) // advice only
}
