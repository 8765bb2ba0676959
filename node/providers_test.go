package node

import (
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// announce has a node announce a block, whether or not it has it, until another
// would find it.
func announce(t *testing.T, n, other *Node, c cid.Cid) {
	t.Helper()
	id, _, err := n.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the block is announced", func() bool {
		return kuboOf(t, n).node.Routing.Provide(t.Context(), c, true) == nil
	})
	eventually(t, "the other node finds who has it", func() bool {
		for found := range kuboOf(t, other).node.Routing.FindProvidersAsync(t.Context(), c, 1) {
			if found.ID.String() == id {
				return true
			}
		}
		return false
	})
}

// The error of a block that does not come says whether anybody was found who
// should have it, and was reached.
func TestErrorsSayWhoWasFound(t *testing.T) {
	hub := startNode(t, loopback(t.TempDir()))
	gone := startNode(t, loopback(t.TempDir(), address(t, hub)))
	o := loopback(t.TempDir(), address(t, hub))
	o.FetchTimeout = 6 * time.Second // Bitswap asks those it knows before it looks for others
	n := startNode(t, o)
	lost, removed := absent("any more"), absent("what it announced")
	announce(t, gone, n, lost)
	announce(t, hub, n, removed)
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the peer is gone", func() bool {
		peers, err := n.Peers(t.Context())
		return err == nil && len(peers) == 1
	})
	var readers sync.WaitGroup
	for says, block := range map[string]cid.Cid{
		`while finding providers; 0 providers were found, 0 tried and 0 connected`:                   absent("what nobody announced"),
		`while connecting to providers; [1-9] providers were found, [1-9] tried and 0 connected`:     lost,
		`while connecting to providers; [1-9] providers were found, [1-9] tried and [1-9] connected`: removed,
	} {
		readers.Go(func() { // all wait for the same time
			_, err := readCold(t, n, image.Path{Root: block})
			if image.ClassOf(err) != image.Unavailable || !regexp.MustCompile(says).MatchString(err.Error()) {
				t.Errorf("%v; want it to say %s", err, says)
			}
		})
	}
	readers.Wait()
}
