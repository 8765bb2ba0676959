package node

import (
	"context"
	"errors"
	"io/fs"
)

// maxCounts is how often the files of the repository are counted until one that
// has gone meanwhile is an error.
const maxCounts = 10

// size is how many bytes the repository has on the disk. A database that tidies
// itself up removes files between their being listed and looked at, for which
// Kubo's datastores do not allow: then all is counted anew.
func (e *embedded) size(ctx context.Context) (used uint64, err error) {
	for range maxCounts {
		if used, err = e.node.Repo.GetStorageUsage(ctx); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return used, err
}
