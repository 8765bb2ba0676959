package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// scrapeTimeout bounds what a scrape waits for the node.
	scrapeTimeout = 2 * time.Second
	// sizeAge is how old the size of the blockstore in a scrape may be.
	sizeAge = 30 * time.Second
)

// collector measures a Node when it is scraped.
type collector struct {
	node     *Node
	size     *prometheus.Desc
	peers    *prometheus.Desc
	failures *prometheus.Desc
	damaged  *prometheus.Desc

	mu       sync.Mutex // guards the fields below
	bytes    uint64
	measured time.Time
}

// registerMetrics adds the collectors of n where its options say, and returns
// the function that removes them.
func registerMetrics(n *Node) (unregister func(), err error) {
	if n.options.Metrics == nil {
		return func() {}, nil
	}
	c := &collector{
		node:     n,
		size:     prometheus.NewDesc("ipfs_registry_blockstore_bytes", "Bytes that the node's repository takes on the disk, at most 30 s old.", nil, nil),
		peers:    prometheus.NewDesc("ipfs_registry_swarm_peers", "Connections to peers.", nil, nil),
		failures: prometheus.NewDesc("ipfs_registry_retrieval_failures_total", "Blocks that were needed and that nobody delivered in time; those of an image's root and of what comes along with it are one.", nil, nil),
		damaged:  prometheus.NewDesc("ipfs_registry_damaged_blocks_total", "Blocks on the disk whose bytes turned out not to be those of their CIDs.", nil, nil),
	}
	if err := n.options.Metrics.Register(c); err != nil {
		return nil, fmt.Errorf("register the node's metrics: %w", err)
	}
	if err := n.options.Metrics.Register(n.supply.metrics); err != nil {
		n.options.Metrics.Unregister(c)
		return nil, fmt.Errorf("register the node's metrics: %w", err)
	}
	return func() {
		n.options.Metrics.Unregister(c)
		n.options.Metrics.Unregister(n.supply.metrics)
	}, nil
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.size
	ch <- c.peers
	ch <- c.failures
	ch <- c.damaged
}

// Collect implements prometheus.Collector. What can't be measured is left out.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(c.failures, prometheus.CounterValue, float64(c.node.unavailable.Load()))
	ch <- prometheus.MustNewConstMetric(c.damaged, prometheus.CounterValue, float64(c.node.disk.found.Load()))
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	if bytes, err := c.blockstoreSize(ctx); err == nil {
		ch <- prometheus.MustNewConstMetric(c.size, prometheus.GaugeValue, float64(bytes))
	}
	if peers, err := c.node.api.Swarm().Peers(ctx); err == nil || isOffline(err) {
		ch <- prometheus.MustNewConstMetric(c.peers, prometheus.GaugeValue, float64(len(peers)))
	}
}

func (c *collector) blockstoreSize(ctx context.Context) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.measured.IsZero() && time.Since(c.measured) < sizeAge {
		return c.bytes, nil
	}
	bytes, err := c.node.backing.size(ctx)
	if err == nil {
		c.bytes, c.measured = bytes, time.Now()
	}
	return c.bytes, err
}
