package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"grandstand/drill"
	"grandstand/redis/redistest"
)

// A small drill of a gateway that asks for tokens: the crowd brings its own, its
// accounts have leases, and the page says what was seen. What the times are is for
// quiet machines (make measure).
func TestDrill(t *testing.T) {
	beside(t) // it mostly waits
	redis := redistest.StartServer(t).URL()
	startAggregator(t, "aggregator", redis)
	admin := freeAddr(t)
	g := startGateway(t, "gateway", redis, "--admin", admin, "--auth", "jwt", "--jwt-secret", jwtSecret, "--admin-token", adminToken)
	configure(t, g, "final", `{"tick_ms":1000,"beat_ms":5000,"dims":["country","region","team"]}`)

	p := start(t, "drill", "drill", "--target", g.url, "--admin", admin, "--event", "final", "--jwt-secret", jwtSecret,
		"--base", "60", "--peak", "2x", "--ramp", "5s", "--hold", "10s", "--output", "json")
	code := p.wait(3 * time.Minute)
	var v drill.Verdict
	if err := json.NewDecoder(strings.NewReader(p.log.String())).Decode(&v); err != nil { // what went to stderr follows
		t.Fatal(err)
	}
	if v.Base != 60 || v.Peak != 120 || v.Report.Joins < 120 || v.Saturation == "" {
		t.Errorf("%d to %d sessions, %d joins, saturated first: %q", v.Base, v.Peak, v.Report.Joins, v.Saturation)
	}
	if (code != 0) != v.Failed() {
		t.Errorf("the process ended with %d, failed is %v", code, v.Failed())
	}
	for _, name := range []string{"joins refused, or failed", "the sums of every board", "counts against the truth",
		"connections that the system ended", "false blocks of devices", "violations of invariants"} {
		i := slices.IndexFunc(v.Objectives, func(o drill.Objective) bool { return o.Name == name })
		if i < 0 || v.Objectives[i].Outcome != drill.Pass {
			t.Errorf("%s: %+v", name, v.Objectives)
			break
		}
	}
}
