package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The labels of the sources that are not gateways: those have their host.
const (
	exchangeLabel = "bitswap"
	peerLabel     = "peer"
)

// supplyMetrics count what came from where. They implement prometheus.Collector.
type supplyMetrics struct {
	retrievals            prometheus.Counter
	bytes, blocks, errors *prometheus.CounterVec
	wait                  *prometheus.HistogramVec
}

func newSupplyMetrics() *supplyMetrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ipfs_registry_retrieval_" + name, Help: help}, []string{"source"})
	}
	return &supplyMetrics{
		retrievals: prometheus.NewCounter(prometheus.CounterOpts{Name: "ipfs_registry_retrievals_total",
			Help: "Retrievals of blocks that were not on the disk; who waits for one that is under way makes no other."}),
		bytes:  counter("bytes_total", "Bytes of verified blocks that came from a source: a gateway's host, peer or bitswap."),
		blocks: counter("blocks_total", "Verified blocks that came from a source."),
		errors: counter("errors_total", "Requests to a source that failed, an absence included; of bitswap, the times that it brought nothing for a while."),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ipfs_registry_retrieval_first_byte_seconds", Help: "Time from a request to the first byte of its answer, once for each block.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}, []string{"source"}),
	}
}

func (m *supplyMetrics) came(label string, bytes int, wait time.Duration) {
	m.bytes.WithLabelValues(label).Add(float64(bytes))
	m.blocks.WithLabelValues(label).Inc()
	m.wait.WithLabelValues(label).Observe(wait.Seconds())
}

func (m *supplyMetrics) failed(label string) { m.errors.WithLabelValues(label).Inc() }

// Describe implements prometheus.Collector.
func (m *supplyMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *supplyMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

func (m *supplyMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.retrievals, m.bytes, m.blocks, m.errors, m.wait}
}
