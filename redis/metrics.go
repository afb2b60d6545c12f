package redis

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"
)

// metrics are shared by all clients of one Registerer.
type metrics struct {
	commands *prometheus.CounterVec   // op, command
	seconds  *prometheus.HistogramVec // op
	errors   *prometheus.CounterVec   // op, reason
	offset   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grandstand_redis_commands_total",
			Help: "Commands sent to Redis, by the call that they belong to and their name.",
		}, []string{"op", "command"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "grandstand_redis_call_seconds",
			Help:    "Time of a call to Redis, all its pipelined commands together.",
			Buckets: []float64{0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1},
		}, []string{"op"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grandstand_redis_errors_total",
			Help: "Calls to Redis that went wrong, by reason.",
		}, []string{"op", "reason"}),
		offset: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "grandstand_redis_clock_offset_seconds",
			Help: "Redis TIME minus the wall clock of this machine.",
		}),
	}
	if reg != nil {
		m.commands = register(reg, m.commands)
		m.seconds = register(reg, m.seconds)
		m.errors = register(reg, m.errors)
		m.offset = register(reg, m.offset)
	}
	return m
}

// register returns the collector that is registered: of the first client.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	var already prometheus.AlreadyRegisteredError
	if err := reg.Register(c); errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	return c
}

// sending counts the commands of a call: neighbours mostly have the same name.
func (m *metrics) sending(op string, cmds []rueidis.Completed) {
	for i := 0; i < len(cmds); {
		name, first := cmds[i].Commands()[0], i
		for i++; i < len(cmds) && cmds[i].Commands()[0] == name; i++ {
		}
		m.commands.WithLabelValues(op, name).Add(float64(i - first))
	}
}

func (m *metrics) observe(op string, took time.Duration) {
	m.seconds.WithLabelValues(op).Observe(took.Seconds())
}

func (m *metrics) failed(op, reason string) { m.errors.WithLabelValues(op, reason).Inc() }
