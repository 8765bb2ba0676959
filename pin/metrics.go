package pin

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// proofMetrics count what verifications find.
type proofMetrics struct {
	mu                        sync.Mutex
	images, unsound           float64
	blocks, damaged, repaired float64
	last                      float64 // s since 1970; 0 for never
}

func (m *proofMetrics) note(c Check) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.images++
	if c.Problem != "" {
		m.unsound++
	}
	m.blocks += float64(c.Blocks)
	m.damaged += float64(c.Damaged)
	m.repaired += float64(c.Repaired)
	m.last = float64(c.When.Unix())
}

// Metrics are the collectors of a Keeper.
func (k *Keeper) Metrics() []prometheus.Collector {
	read := func(field func(*proofMetrics) float64) func() float64 {
		return func() float64 {
			k.proof.mu.Lock()
			defer k.proof.mu.Unlock()
			return field(&k.proof)
		}
	}
	counter := func(name, help string, field func(*proofMetrics) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "ipfs_registry_verify_" + name, Help: help}, read(field))
	}
	return []prometheus.Collector{
		counter("images_total", "Images that were verified, by \"pin verify\" or by scrubbing.", func(m *proofMetrics) float64 { return m.images }),
		counter("unsound_images_total", "Of those, the ones that were damaged and could not be repaired.", func(m *proofMetrics) float64 { return m.unsound }),
		counter("blocks_total", "Blocks that were compared with their CIDs.", func(m *proofMetrics) float64 { return m.blocks }),
		counter("damaged_blocks_total", "Of those, the ones that were damaged or missing.", func(m *proofMetrics) float64 { return m.damaged }),
		counter("repaired_blocks_total", "Of those, the ones that were retrieved again.", func(m *proofMetrics) float64 { return m.repaired }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ipfs_registry_verify_last_seconds",
			Help: "When an image was verified last, in seconds since 1970; 0 for not since the start."}, read(func(m *proofMetrics) float64 { return m.last })),
	}
}
