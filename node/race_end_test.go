package node

import "testing"

// A job is not over while somebody needs a block of it, nor while one is being
// stored, which somebody may have come to wait for.
func TestAJobEndsWhenNothingIsNeeded(t *testing.T) {
	c := contentOn(memoryStore(t), newPeer(memoryStore(t)), patience)
	root, _ := shape{size: 10, chunk: 10, links: 1, raw: true}.build(t, offlineContent(memoryStore(t)).dag)
	follow := c.supply.follow(root)
	defer follow.leave()
	for name, state := range map[string]flight{"needed": {asked: true}, "being stored": {come: true}, "both": {asked: true, come: true}, "neither": {}} {
		j := newJob(c.supply, follow, span{})
		c.supply.mu.Lock()
		f := j.add(wanted{cid: root})
		f.asked, f.come = state.asked, state.come
		c.supply.mu.Unlock()
		if over := j.done(); over != (name == "neither") || over != j.over {
			t.Errorf("%s: over is %v", name, over)
		}
		c.supply.land(f, nil, errDropped)
		if !j.done() || c.supply.flights[root] != nil {
			t.Errorf("%s: it goes on when the block has landed", name)
		}
	}
}
