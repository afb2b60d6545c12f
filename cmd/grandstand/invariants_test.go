package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

func TestViolationsAreCountedAndLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		reg := prometheus.NewRegistry()
		v := newViolations(reg, slog.New(slog.NewTextHandler(&log, nil)))
		for range 3 {
			v.violated(grandstand.InvariantSums, "event", "final")
		}
		v.violated(grandstand.InvariantOrder, "event", "semi")
		time.Sleep(violationEvery)
		v.violated(grandstand.InvariantSums, "event", "final")

		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, m := range families[0].Metric {
			got[m.Label[0].GetValue()] = m.Counter.GetValue()
		}
		if len(got) != len(grandstand.Invariants) || got["board_sums"] != 4 || got["at_order"] != 1 || got["board_fans"] != 0 {
			t.Errorf("counted %v", got)
		}
		if n := strings.Count(log.String(), "invariant=board_sums"); n != 2 {
			t.Errorf("%d lines, want 2:\n%s", n, log.String())
		}
		if !strings.Contains(log.String(), "invariant=board_sums more=2 event=final") {
			t.Errorf("the second line does not say how many were left out:\n%s", log.String())
		}
	})
}
