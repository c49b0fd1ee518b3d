package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the service's, in a registry of their own. Durations are in seconds, sizes in
// bytes.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec   // route, code
	edits    *prometheus.CounterVec   // model, outcome
	warnings prometheus.Counter       // edits served with one
	seconds  *prometheus.HistogramVec // model
	step     *prometheus.HistogramVec // model
	wait     prometheus.Histogram
	stage    *prometheus.GaugeVec // stage
	peak     prometheus.Gauge
}

// Buckets go from a small model's step to a large one's on a slow card, and from an edit in
// tests to 50 guided steps.
var (
	stepBuckets = prometheus.ExponentialBuckets(0.01, 2, 12)
	editBuckets = prometheus.ExponentialBuckets(0.1, 2, 14)
)

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "plimsoll_http_requests_total", Help: "Requests answered, by route and status code; 499 is a client that went away."}, []string{"route", "code"}),
		edits:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "plimsoll_edits_total", Help: "Edits that reached the model, by checkpoint and outcome: ok or an error code."}, []string{"model", "outcome"}),
		warnings: prometheus.NewCounter(prometheus.CounterOpts{Name: "plimsoll_edits_warned_total", Help: "Edits that were served with a warning."}),
		seconds:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "plimsoll_edit_seconds", Help: "Time of an edit on the device.", Buckets: editBuckets}, []string{"model"}),
		step:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "plimsoll_step_seconds", Help: "Time of one sampling step.", Buckets: stepBuckets}, []string{"model"}),
		wait:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "plimsoll_queue_wait_seconds", Help: "Time that an edit waited for its turn.", Buckets: editBuckets}),
		stage:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "plimsoll_load_seconds", Help: "Time that each stage of loading took."}, []string{"stage"}),
		peak:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "plimsoll_edit_peak_memory_bytes", Help: "Most device memory that the last edit took."}),
	}
	m.registry.MustRegister(m.requests, m.edits, m.warnings, m.seconds, m.step, m.wait, m.stage, m.peak,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registerGauges(s)
	return m
}

// registerGauges has those that are read when somebody asks.
func (m *metrics) registerGauges(s *Server) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	one := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge("plimsoll_ready", "1 when edits are served.", func() float64 { return one(s.state.snapshot().stage == StageReady) })
	gauge("plimsoll_queue_waiting", "Edits that wait for their turn.", func() float64 { n, _ := s.queue.load(); return float64(n) })
	gauge("plimsoll_edits_running", "Edits on the device, 0 or 1.", func() float64 { _, busy := s.queue.load(); return one(busy) })
	gauge("plimsoll_device_memory_total_bytes", "Memory of the device.", func() float64 { return float64(s.device().TotalMemory) })
	gauge("plimsoll_device_memory_free_bytes", "Free memory of the device.", func() float64 { return float64(s.device().FreeMemory) })
	gauge("plimsoll_device_memory_allocated_bytes", "Memory of the device that this process holds.", func() float64 { return float64(s.device().AllocatedMemory) })
}

// handler answers in Prometheus' formats.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) request(route string, status int) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
}

// stepTimer returns the Progress of an edit. It is called on one goroutine at a time.
func (m *metrics) stepTimer(model string) func(step, steps int) {
	var last time.Time
	return func(int, int) {
		now := time.Now()
		if !last.IsZero() {
			m.step.WithLabelValues(model).Observe(now.Sub(last).Seconds())
		}
		last = now
	}
}
