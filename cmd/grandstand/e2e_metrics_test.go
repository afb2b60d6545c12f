package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"grandstand"
)

// metricsText returns what a process serves as metrics, by the address of its
// --admin.
func metricsText(t *testing.T, admin string) string {
	t.Helper()
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("metrics of %s: %s, %v", admin, resp.Status, err)
	}
	return string(text)
}

// requireNoViolations fails the test unless each of the processes, given by the
// addresses of their --admin, counts every invariant and none of them broken.
func requireNoViolations(t *testing.T, admins ...string) {
	t.Helper()
	for _, admin := range admins {
		counted := 0
		for line := range strings.Lines(metricsText(t, admin)) {
			series, isOne := strings.CutPrefix(line, "grandstand_invariant_violations_total{")
			if !isOne {
				continue
			}
			counted++
			if !strings.HasSuffix(series, "} 0\n") {
				t.Errorf("%s counts a broken invariant: %s", admin, series)
			}
		}
		if counted != len(grandstand.Invariants) {
			t.Errorf("%s counts %d invariants, want %d", admin, counted, len(grandstand.Invariants))
		}
	}
}
