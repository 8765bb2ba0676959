package node

import (
	"fmt"
	"testing"

	"github.com/ipfs/go-datastore"
)

// The size can be told while the database of the records removes files.
func TestSizeWhileTheDatabaseIsTidied(t *testing.T) {
	n := startNode(t, loopback(t.TempDir()))
	written := make(chan error, 1)
	go func() {
		for i := range 400 {
			key := datastore.NewKey(fmt.Sprintf("/test/%d", i%50))
			if err := n.records.Put(t.Context(), key, randomBytes(byte(i), 256<<10)); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	for counts := 1; ; counts++ {
		if used, err := n.backing.size(t.Context()); err != nil || used == 0 {
			t.Fatalf("count %d: %d, %v", counts, used, err)
		}
		select {
		case err := <-written:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}
