package node

import (
	"os"
	"syscall"
)

// identify returns the number of a file and when its inode changed, in ns since
// 1970.
func identify(info os.FileInfo) (inode uint64, changed int64) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino, s.Ctim.Nano()
	}
	return 0, 0
}
