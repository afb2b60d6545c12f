package blocker

import (
	"slices"
	"strings"
	"testing"
	"time"

	"grandstand"
)

// What changes something is archived, under keys of its event; renewals, waiting,
// and what is about no event are not.
func TestDecisionsAreKept(t *testing.T) {
	var kept []grandstand.RawEvent
	keep := func(c *Config) {
		limited(c)
		c.Keep = func(e *grandstand.RawEvent) { kept = append(kept, *e) }
	}
	inBubble(t, keep, func(t *testing.T, rg *rig) {
		rg.beat("home", `{"session":"h1"}`).want(t, 200, "") // no event
		rg.beat("tv", `{"session":"t1","event":"final"}`).want(t, 200, "")
		rg.beat("tv", `{"session":"t1","event":"final"}`).want(t, 200, "")
		blocked := rg.beat("pc", `{"session":"p1","event":"final"}`).want(t, 409, "device_limit")
		rg.beat("pc", `{"session":"p1","event":"final"}`).want(t, 409, "device_limit")
		time.Sleep(time.Second)
		codes := blocked.conflicts("termination_code")
		rg.beat("pc", `{"session":"p1","event":"final","terminate":["`+codes[1]+`"]}`).want(t, 200, "")
		rg.beat("tv", `{"session":"t1","event":"final"}`).want(t, 410, "taken_over")
		rg.beat("pc", `{"session":"p1","event":"final","ended":true}`).want(t, 200, "")

		key := grandstand.NewEventKey(secret, "final")
		var said []string
		for _, e := range kept {
			device := map[string]grandstand.Key{"t1": key.Device("tv"), "p1": key.Device("pc")}[string(e.Session)]
			if e.Kind != grandstand.RawVerdict || string(e.Event) != "final" || e.Account != key.Account("a1") || e.Device != device || e.ReceivedAt == 0 {
				t.Errorf("%+v", e)
			}
			_, outcome, _ := strings.Cut(string(e.Data), `"outcome":"`)
			said = append(said, string(e.Session)+" "+strings.TrimSuffix(outcome, `"}`))
		}
		if want := []string{"t1 acquired", "p1 blocked", "p1 took_over", "t1 blocked", "p1 left"}; !slices.Equal(said, want) {
			t.Errorf("%q, want %q", said, want)
		}
	})
}
