package archiver

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"grandstand"
)

// A compactor compacts an hour ten minutes after its end, has its live objects
// removed a day later and not before, and outlives a store that is away.
func TestTheCompactorsDay(t *testing.T) {
	s := openMem(t)
	m := s.blobs.(*mem)
	putLive(t, s, testJournal, 1, []*grandstand.RawEvent{beatAt("s", 1, compactHour), beatAt("s", 1, compactHour+1)})
	reg := prometheus.NewRegistry()
	c, err := NewCompactor(CompactorConfig{Store: s, Temp: t.TempDir(), Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after        time.Duration // since the hour began
		away         error
		live, closed int
	}{
		{time.Hour + 9*time.Minute, nil, 1, 0},
		{time.Hour + 19*time.Minute, errors.New("the store is away"), 1, 0},
		{time.Hour + 29*time.Minute, nil, 1, 1},
		{24*time.Hour + 59*time.Minute, nil, 1, 1},
		{25*time.Hour + 9*time.Minute, nil, 0, 1},
	} {
		m.fail(step.away)
		c.round(t.Context(), time.UnixMilli(compactHour).Add(step.after))
		m.fail(nil)
		list, err := s.Objects(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		live := 0
		for _, o := range list {
			if o.Live() {
				live++
			}
		}
		if live != step.live || len(list)-live != step.closed {
			t.Errorf("after %v: %d live objects and %d, want %d and %d", step.after, live, len(list)-live, step.live, step.closed)
		}
	}
	for metric, want := range map[prometheus.Collector]float64{
		c.metrics.hours: 1, c.metrics.objects: 1, c.metrics.pruned: 1, c.metrics.failures.WithLabelValues("compact"): 1,
		c.metrics.rows.WithLabelValues("read"): 2, c.metrics.rows.WithLabelValues("doubles"): 1,
	} {
		if got := testutil.ToFloat64(metric); got != want {
			t.Errorf("%v is %v, want %v", metric, got, want)
		}
	}
	if n, err := testutil.GatherAndCount(reg); n < 8 || err != nil {
		t.Errorf("%d metrics, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestACompactorsConfigIsChecked(t *testing.T) {
	for _, cfg := range []CompactorConfig{{}, {Store: openMem(t), Every: -1}} {
		if _, err := NewCompactor(cfg); grandstand.CodeOf(err) != grandstand.CodeInvalid {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
