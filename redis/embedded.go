package redis

import (
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"grandstand"
)

// EmbeddedConfig says how the embedded server runs.
type EmbeddedConfig struct {
	// ExpireEvery is how often keys are aged; each time costs about 7 ms per
	// 20,000 keys, in which the server does nothing else. Default 1 s.
	ExpireEvery time.Duration
}

// Embedded is a Redis within this process, for demos, tests and a single node of
// up to some 20,000 sessions. Nothing of it outlives the process.
type Embedded struct {
	m    *miniredis.Miniredis
	stop chan struct{}
	done chan struct{}
	once sync.Once
}

// StartEmbedded starts the server on a free port of 127.0.0.1. It runs until
// Close.
func StartEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	if cfg.ExpireEvery < 0 {
		return nil, grandstand.Errorf(grandstand.CodeInvalid, "redis: ExpireEvery is negative")
	}
	if cfg.ExpireEvery == 0 {
		cfg.ExpireEvery = time.Second
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return nil, grandstand.WrapError(grandstand.CodeUnavailable, err, "the embedded Redis cannot listen")
	}
	e := &Embedded{m: m, stop: make(chan struct{}), done: make(chan struct{})}
	go e.age(cfg.ExpireEvery)
	return e, nil
}

// age lets keys expire: in this server they do not grow older by themselves.
// (Its option ClockTTL does that too, but costs 6 ms in every SET.)
func (e *Embedded) age(every time.Duration) {
	defer close(e.done)
	t := time.NewTicker(every)
	defer t.Stop()
	last := time.Now()
	for {
		select {
		case <-e.stop:
			return
		case <-t.C:
			now := time.Now()
			e.m.FastForward(now.Sub(last))
			last = now
		}
	}
}

// Address returns the address for Config: redis://127.0.0.1:port.
func (e *Embedded) Address() string { return "redis://" + e.m.Addr() }

// Close stops the server and waits for it.
func (e *Embedded) Close() {
	e.once.Do(func() {
		close(e.stop)
		<-e.done
		e.m.Close()
	})
}
