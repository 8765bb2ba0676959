package node

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// gathered are the values of all gauges and counters of r.
func gathered(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		values[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	return values
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	a := startNode(t, loopback(t.TempDir()))
	o := loopback(t.TempDir(), address(t, a))
	o.Metrics = registry
	b := startNode(t, o)
	eventually(t, "connected", func() bool { return b.Ready(t.Context()) == nil })

	values := gathered(t, registry)
	if values["ipfs_registry_swarm_peers"] != 1 || values["ipfs_registry_blockstore_bytes"] == 0 {
		t.Errorf("%v", values)
	}
	root, err := a.AddFile(t.Context(), strings.NewReader(strings.Repeat("from afar ", 300_000)), publish.UnixFSv1)
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.Open(t.Context(), image.Path{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if values := gathered(t, registry); values["ipfs_registry_retrievals_total"] == 0 {
		t.Errorf("%v; want a retrieval", values)
	}
	o.RepoPath = t.TempDir()
	if n, err := Open(t.Context(), o); err == nil {
		_ = n.Close()
		t.Error("two nodes under one name")
	}
	if err := checkFree(o.RepoPath); err != nil {
		t.Errorf("the second was not closed: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if left := gathered(t, registry); len(left) > 0 {
		t.Errorf("after Close: %v", left)
	}
}

func TestMetricsOffline(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	startNode(t, Options{RepoPath: t.TempDir(), Metrics: registry})
	if values := gathered(t, registry); len(values) != 5 || values["ipfs_registry_swarm_peers"] != 0 {
		t.Errorf("%v", values)
	}
}

// The disk is not asked again at every scrape.
func TestBlockstoreSizeIsCached(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	c := &collector{node: n}
	first, err := c.blockstoreSize(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	addTree(t, n, "more", "blocks")
	if second, err := c.blockstoreSize(t.Context()); err != nil || second != first {
		t.Errorf("%d, then %d (%v)", first, second, err)
	}
	c.measured = c.measured.Add(-sizeAge)
	if third, err := c.blockstoreSize(t.Context()); err != nil || third <= first {
		t.Errorf("%d, then %d (%v)", first, third, err)
	}
}
