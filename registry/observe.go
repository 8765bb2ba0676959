package registry

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// observer counts and logs requests.
type observer struct {
	log      *slog.Logger
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	inFlight prometheus.Gauge
	seconds  *prometheus.HistogramVec
	failures *prometheus.CounterVec
}

func newObserver(o Options) *observer {
	f := promauto.With(o.Metrics)
	return &observer{
		log: o.Log,
		requests: f.NewCounterVec(prometheus.CounterOpts{Name: "ipfs_registry_requests_total",
			Help: "Requests answered, by what was asked for, method and status; status 0 is an aborted answer."}, []string{"kind", "method", "status"}),
		bytes: f.NewCounterVec(prometheus.CounterOpts{Name: "ipfs_registry_response_bytes_total",
			Help: "Bytes of response bodies sent, by what was asked for."}, []string{"kind"}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{Name: "ipfs_registry_requests_in_flight",
			Help: "Requests being answered."}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{Name: "ipfs_registry_request_seconds",
			Help: "Time from the request to the end of its answer, by what was asked for.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"kind"}),
		failures: f.NewCounterVec(prometheus.CounterOpts{Name: "ipfs_registry_failures_total",
			Help: "Questions that failed, by class; corrupt is a verification failure."}, []string{"class"}),
	}
}

func (o *observer) failed(err error) {
	o.failures.WithLabelValues(image.ClassOf(err).String()).Inc()
}

type kindKey struct{}

// observe notes what the request turned out to ask for.
func observe(r *http.Request, k kind) {
	if seen, ok := r.Context().Value(kindKey{}).(*kind); ok {
		*seen = k
	}
}

func (o *observer) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, what := time.Now(), kind("other")
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		o.inFlight.Inc()
		aborted := true
		defer func() {
			o.inFlight.Dec()
			o.done(r, ww, what, aborted, time.Since(start))
		}()
		next.ServeHTTP(ww, r.WithContext(context.WithValue(r.Context(), kindKey{}, &what)))
		aborted = false
	})
}

func (o *observer) done(r *http.Request, w middleware.WrapResponseWriter, what kind, aborted bool, took time.Duration) {
	status := w.Status()
	switch {
	case aborted:
		status = 0
	case status == 0:
		status = http.StatusOK
	}
	o.requests.WithLabelValues(string(what), method(r), strconv.Itoa(status)).Inc()
	o.bytes.WithLabelValues(string(what)).Add(float64(w.BytesWritten()))
	o.seconds.WithLabelValues(string(what)).Observe(took.Seconds())
	o.log.LogAttrs(r.Context(), slog.LevelDebug, "request", slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.String("range", r.Header.Get("Range")), slog.Int("status", status), slog.Int("bytes", w.BytesWritten()),
		slog.Duration("took", took), slog.String("client", r.UserAgent()), slog.String("remote", r.RemoteAddr))
}

// method keeps a client from making up labels.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return r.Method
	}
	return "other"
}
