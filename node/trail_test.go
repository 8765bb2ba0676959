package node

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
)

// What one reader began and comes to only when that one has left does not end the
// session of the next, who came within the time that it outlives its readers.
func TestWhoComesLateEndsNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		supply := contentOn(memoryStore(t), newPeer(memoryStore(t)), patience).supply
		dag := cid.MustParse("bafkqaaa")
		first := supply.follow(dag)
		first.leave()
		first.hold()
		first.leave()
		next := supply.follow(dag)
		session := next.hold()
		select {
		case <-session.Done():
			t.Error("the session has ended while it has a reader")
		case <-time.After(2 * linger):
		}
		next.leave()
		next.leave()
		select {
		case <-session.Done():
		case <-time.After(2 * linger):
			t.Error("the session goes on when nobody reads")
		}
	})
}
