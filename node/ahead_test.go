package node

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// twoLevels is a file of 20 leaves below four nodes, at a peer that keeps its
// leaves to itself until they are let go.
func twoLevels(t *testing.T) (c *content, root cid.Cid, peer *peerExchange, letGo func(n int)) {
	remote := memoryStore(t)
	from := offlineContent(remote)
	root, _ = shape{size: 20 << 20, chunk: 1 << 20, links: 5, raw: true}.build(t, from.dag)
	var leaves []chan struct{}
	gates := map[cid.Cid]chan struct{}{}
	top, err := from.dag.Get(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	for _, below := range top.Links() {
		nd, err := from.dag.Get(t.Context(), below.Cid)
		if err != nil {
			t.Fatal(err)
		}
		for _, leaf := range nd.Links() {
			gates[leaf.Cid] = make(chan struct{})
			leaves = append(leaves, gates[leaf.Cid])
		}
	}
	peer = newPeer(remote)
	open := make(chan struct{})
	close(open)
	peer.gate = func(c cid.Cid) <-chan struct{} {
		if gate, ok := gates[c]; ok {
			return gate
		}
		return open
	}
	letGo = func(n int) {
		for _, leaf := range leaves[:n] {
			close(leaf)
		}
		leaves = leaves[n:]
	}
	return contentOn(memoryStore(t), peer, time.Minute), root, peer, letGo
}

// Who needs all of a file has the nodes and the beginning of it under way while
// the first leaf has not come, and the whole window as soon as it has.
func TestAllIsUnderWayEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root, peer, letGo := twoLevels(t)
		opened := make(chan image.File, 1)
		go func() {
			f, err := c.Open(image.First{To: 1 << 40}.In(t.Context()), image.Path{Root: root})
			if err != nil {
				t.Error(err)
			}
			opened <- f
		}()
		synctest.Wait()
		if got, want := peer.asked(), 1+4+4; got != want {
			t.Errorf("%d blocks were asked for before a leaf had come; want the root, 4 nodes and 4 leaves", got)
		}
		letGo(1)
		f := <-opened
		if f == nil {
			t.FailNow()
		}
		defer f.Close()
		go func() { _, _ = f.(image.LimitedWriterTo).WriteNTo(io.Discard, f.Size()) }()
		synctest.Wait()
		if got, want := peer.asked(), 1+4+maxHeldWindow>>20; got < want {
			t.Errorf("%d blocks were asked for when the first leaf had come; want at least %d", got, want)
		}
		letGo(19)
		synctest.Wait()
	})
}

// What was prefetched by a session that has yet to find out who has it is asked
// of the readers' session as well once there is a reader.
func TestReaderOfAPrefetchAsksForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := offlineContent(memoryStore(t))
		root, data := shape{size: 3<<20 + 5, chunk: 1 << 20, links: 5, raw: true}.build(t, c.dag)
		session, lost := c.supply.session, true
		c.supply.session = func(ctx context.Context) ipld.NodeGetter {
			if lost {
				return silent{}
			}
			return session(ctx)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ahead := newFile(ctx, c, image.Path{Root: root})
		ahead.idle = true
		ended := make(chan struct{})
		go func() { _ = ahead.open(nil); _ = ahead.Close(); close(ended) }()
		synctest.Wait()
		lost = false
		begun := time.Now()
		f, err := c.Open(t.Context(), image.Path{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got, err := io.ReadAll(f); err != nil || len(got) != len(data) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("it waited %s for the session of the prefetch", waited)
		}
		cancel()
		<-ended
	})
}

// A session outlives its last reader for a while, and no longer.
func TestSessionOfOneReaderAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := offlineContent(memoryStore(t))
		root, _ := shape{size: 100, chunk: 1 << 20, links: 5, raw: true}.build(t, c.dag)
		session := c.supply.session
		var sessions []context.Context
		c.supply.session = func(ctx context.Context) ipld.NodeGetter {
			sessions = append(sessions, ctx)
			return session(ctx)
		}
		read := func() {
			l := &loader{content: c, ctx: t.Context(), op: "read", path: image.Path{Root: root}}
			defer l.close()
			if _, err := l.node(root); err != nil {
				t.Fatal(err)
			}
		}
		read()
		<-time.After(linger / 2)
		read()
		if len(sessions) != 1 || sessions[0].Err() != nil {
			t.Fatalf("%d sessions, error %v; want one that goes on", len(sessions), sessions[0].Err())
		}
		<-time.After(2 * linger)
		if sessions[0].Err() == nil {
			t.Error("the session goes on without readers")
		}
		read()
		if len(sessions) != 2 {
			t.Errorf("%d sessions; want a second after the first has ended", len(sessions))
		}
	})
}
