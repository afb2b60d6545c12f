package gateway

import (
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"grandstand"
)

// calm is a gateway that has hardly anything to do.
var calm = strain{lateTick: 0.01, lateFrame: 0.01, lateTurn: 0.0001, inUse: 0.2, crowding: 0.5}

// with returns a calm strain but for one signal.
func with(s signal, v float64) strain {
	x := calm
	x[s] = v
	return x
}

// levelsOf returns the levels after each of the strains, from a level on.
func levelsOf(level int, strains []strain) (levels []int) {
	var window []strain
	for _, s := range strains {
		if window = append(window, s); len(window) > fallAfter {
			window = window[1:]
		}
		next := levelAfter(level, window)
		if next < level {
			window = nil
		}
		level = next
		levels = append(levels, level)
	}
	return levels
}

func TestLevels(t *testing.T) {
	repeat := func(n int, s ...strain) (all []strain) {
		for range n {
			all = append(all, s...)
		}
		return all
	}
	for _, c := range []struct {
		name    string
		from    int
		strains []strain
		want    string
	}{
		{"nothing to do", 0, repeat(10, calm), "0000000000"},
		{"one late tick", 0, append(repeat(1, with(lateTick, 2)), repeat(4, calm)...), "00000"},
		{"two late ticks far apart", 0, []strain{with(lateTick, 2), calm, calm, with(lateTick, 2), calm}, "00000"},
		{"a tick each other second", 0, repeat(4, with(lateTick, 2), calm), "00112233"},
		{"frames much too late", 0, repeat(5, with(lateFrame, 1.5)), "01233"},
		{"frames rather late", 0, repeat(5, with(lateFrame, 0.3)), "01111"},
		{"frames late", 0, repeat(5, with(lateFrame, 0.6)), "01222"},
		{"no processor", 0, repeat(4, with(lateTurn, 0.6)), "0123"},
		{"memory nearly at its limit", 0, repeat(4, with(inUse, 0.95)), "0123"},
		{"as many connections as there may be", 0, repeat(4, with(crowding, 1)), "0111"},
		{"in between two levels it stays", 2, repeat(10, with(lateFrame, 0.3)), "2222222222"},
		{"it falls one by one", 3, repeat(25, calm), "3333333" + "22222222" + "11111111" + "00"},
		{"a bad second starts the wait anew", 1, append(append(repeat(7, calm), with(lateTick, 0.2)), repeat(8, calm)...), "111111111111111" + "0"},
	} {
		got := ""
		for _, l := range levelsOf(c.from, c.strains) {
			got += strconv.Itoa(l)
		}
		if got != c.want {
			t.Errorf("%s: levels %s, want %s", c.name, got, c.want)
		}
	}
}

func TestLimitsAreInOrder(t *testing.T) {
	for i, l := range limitsOf {
		for k := range topLevel {
			if l.leave[k] > l.enter[k] || l.leave[k] == l.enter[k] && l.enter[k] != never {
				t.Errorf("%s: level %d is left at %v and entered at %v: it would flap", signalNames[i], k+1, l.leave[k], l.enter[k])
			}
			if k > 0 && (l.enter[k] < l.enter[k-1] || l.leave[k] < l.leave[k-1]) {
				t.Errorf("%s: level %d comes before level %d", signalNames[i], k+1, k)
			}
		}
	}
}

// Whatever happens the level moves by one at most, more strain never sheds less,
// what stays as it is does not flap, and calm ends it.
func TestLevelsProperties(t *testing.T) {
	drawn := rapid.Custom(func(t *rapid.T) strain {
		s := calm
		for i := range s {
			if rapid.Bool().Draw(t, "is strained") {
				s[i] = rapid.Float64Range(0, 1.2).Draw(t, signalNames[i])
			}
		}
		return s
	})
	rapid.Check(t, func(t *rapid.T) {
		strains := rapid.SliceOfN(drawn, 1, 60).Draw(t, "strains")
		before := rapid.IntRange(0, topLevel).Draw(t, "level")
		last := before
		for i, l := range levelsOf(before, strains) {
			if l < 0 || l > topLevel || l-last > 1 || last-l > 1 {
				t.Fatalf("strain %d: from level %d to %d", i, last, l)
			}
			last = l
		}

		more := make([]strain, len(strains))
		for i, s := range strains {
			for k := range s {
				s[k] += rapid.Float64Range(0, 0.5).Draw(t, "more")
			}
			more[i] = s
		}
		window := strains[max(0, len(strains)-fallAfter):]
		if a, b := levelAfter(before, window), levelAfter(before, more[max(0, len(more)-fallAfter):]); b < a {
			t.Fatalf("more strain leads to level %d, less to %d", b, a)
		}

		same := make([]strain, 60)
		for i := range same {
			same[i] = strains[0]
		}
		levels := levelsOf(before, same)
		for i := 40; i < len(levels); i++ {
			if levels[i] != levels[39] {
				t.Fatalf("the same strain all the time: levels %v", levels)
			}
		}

		rest := make([]strain, topLevel*fallAfter)
		for i := range rest {
			rest[i] = calm
		}
		if levels := levelsOf(last, rest); levels[len(levels)-1] != 0 {
			t.Fatalf("after a while of calm: levels %v", levels)
		}
	})
}

// strained lets a test say how strained a gateway is.
type strained struct {
	mu sync.Mutex
	s  strain
}

func (x *strained) set(s strain) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.s = s
}

func (x *strained) sense() strain {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.s
}

// What is shed comes and goes in the stated order; who is here keeps all but the
// crosses.
func TestSheddingInOrder(t *testing.T) {
	x, j := &strained{s: calm}, &fakeJournal{}
	rc := rigConfig{set: func(cfg *Config) { cfg.sense, cfg.Journal = x.sense, j }}
	inBubble(t, rc, func(t *testing.T, rg *rig) {
		j.committed = rg.g.Committed
		rg.put("final", `{"dims":["team","region","team+region"]}`)
		v := rg.watch("viewer=v1&device=d1&team=KC&region=US-CA")
		at := func(level int) {
			t.Helper()
			for tries := 0; rg.metric("overload_level", "") != float64(level); tries++ {
				if tries == 8 {
					t.Fatalf("level %v, want %d", rg.metric("overload_level", ""), level)
				}
				v.beat()
				ticked()
			}
			ticked()
			j.mu.Lock()
			every := j.every
			j.mu.Unlock()
			if gathers := every == gatherFor; gathers != (level >= gatherEvents) {
				t.Errorf("level %d: commits are %v apart", level, every)
			}
			if counted := rg.redis.count("final", "team+region:KC+US-CA") == 1; counted == (level >= dropCrosses) {
				t.Errorf("level %d: the cross is counted: %v", level, counted)
			}
			if n := rg.redis.count("final", "team:KC"); n != 1 {
				t.Errorf("level %d: %d sessions of the team", level, n)
			}
			if rg.g.Overloaded() != (level >= refuseJoins) || !rg.g.Ready() {
				t.Errorf("level %d: overloaded is %v", level, rg.g.Overloaded())
			}
			rg.hub.show(board("final", time.Now().UnixMilli(), 10+uint64(level), "team:KC", 1))
			for deadline := time.Now().Add(5 * time.Second); world(v.next("counts")) != 10+level; {
				if time.Now().After(deadline) {
					t.Fatalf("level %d: a viewer is not shown the board", level)
				}
			}
		}
		at(0)
		for level := 1; level <= topLevel; level++ {
			x.set(with(lateFrame, limitsOf[lateFrame].enter[level-1]+0.01))
			at(level)
		}
		rg.onlyThoseHere(t, v)
		x.set(calm)
		for level := topLevel - 1; level >= 0; level-- {
			at(level)
		}
		if _, err := rg.try("final", "viewer=v2&team=SF", nil); err != nil {
			t.Errorf("in the end a newcomer gets %v", err)
		}
		if s := rg.metric("overload_seconds_total", "3"); s < 5 || rg.metric("overload_seconds_total", "1") < 5 {
			t.Errorf("%v s at level 3", s)
		}
	})
}

// onlyThoseHere checks what a gateway does that takes nobody new.
func (rg *rig) onlyThoseHere(t *testing.T, v *viewer) {
	t.Helper()
	refused := rg.metric("shed_joins_total", "")
	for _, query := range []string{"viewer=new&team=SF", "viewer=v1&device=d1&session=" + rg.foreign("v1", "d1")} {
		if _, err := rg.try("final", query, nil); err == nil || !strings.HasPrefix(err.Error(), "503 ") {
			t.Errorf("?%s gets %v", query, err)
		}
		if status, body, _ := rg.do(http.MethodPost, "/v1/events/final/beats?"+query, `{"state":"playing"}`); status != http.StatusServiceUnavailable {
			t.Errorf("beats of ?%s get %d %s", query, status, body)
		}
	}
	if n := rg.metric("shed_joins_total", "") - refused; n != 4 {
		t.Errorf("%v newcomers are counted, want 4", n)
	}
	here := "viewer=v1&device=d1&session=" + v.session
	if again, err := rg.try("final", here, nil); err != nil || again.session != v.session {
		t.Errorf("who connects again gets %v", err)
	}
	if status, body, _ := rg.do(http.MethodPost, "/v1/events/final/beats?"+here, `{"state":"playing"}`); status != http.StatusOK {
		t.Errorf("a beat of a session that is here gets %d %s", status, body)
	}
	for range longestRefusal / 10 {
		time.Sleep(10 * time.Second)
		v.beat()
	}
	for range 20 {
		_, _, h := rg.do(http.MethodPost, "/v1/events/final/beats?viewer=new", `{"state":"playing"}`)
		if s, err := strconv.Atoi(h.Get("Retry-After")); err != nil || s < longestRefusal/2 || s > 60 {
			t.Errorf("after %d s of refusals Retry-After is %q", longestRefusal, h.Get("Retry-After"))
		}
	}
}

// A queue at the door is no reason to keep those out who watched until a moment ago
// on a gateway that is gone.
func TestWhoLostTheirGatewayAreTakenInASurge(t *testing.T) {
	for asks, taken := range map[signal]bool{lateLine: true, lateTurn: true, lateFrame: false, lateTick: false, inUse: false} {
		x := &strained{s: calm}
		inBubble(t, rigConfig{set: func(cfg *Config) { cfg.sense = x.sense }}, func(t *testing.T, rg *rig) {
			rg.put("final", `{}`)
			x.set(with(asks, limitsOf[asks].enter[refuseJoins-1]))
			for rg.metric("overload_level", "") != topLevel {
				ticked()
			}
			if rg.g.Overloaded() == taken {
				t.Errorf("%s: overloaded is %v", signalNames[asks], taken)
			}
			if _, err := rg.try("final", "viewer=new&session=&xsession="+rg.foreign("v1", "d1"), nil); err == nil || !strings.HasPrefix(err.Error(), "503 ") {
				t.Errorf("%s: who names no session gets %v", signalNames[asks], err)
			}
			if _, err := rg.try("final", "viewer=new", nil); err == nil || !strings.HasPrefix(err.Error(), "503 ") {
				t.Errorf("%s: a newcomer gets %v", signalNames[asks], err)
			}
			v, err := rg.try("final", "viewer=v1&device=d1&session="+rg.foreign("v1", "d1"), nil)
			if (err == nil) != taken {
				t.Errorf("%s: who watched elsewhere gets %v", signalNames[asks], err)
			}
			if v != nil {
				v.leave()
			}
		})
	}
}

// foreign returns a session of a viewer's device that is not on this gateway.
func (rg *rig) foreign(viewer, device string) string {
	key := grandstand.NewEventKey(rg.g.cfg.Secret, "final")
	return grandstand.NewSessionID(key, key.Viewer(viewer), key.Device(device))
}

// A cross that some gateway does not count is null to viewers and to whoever asks,
// never zero.
func TestACrossThatIsNotCountedIsNull(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rg.put("final", `{"public":true,"dims":["team","region","team+region"]}`)
		v := rg.watch("viewer=v1&team=KC&region=US-CA")
		at := time.Now().UnixMilli()
		rg.hub.show(board("final", at, 3, "team:KC", 3, "region:US-CA", 3, "team+region:KC+US-CA", 3))
		if n := v.next("counts")["n"].(map[string]any); n["team+region"] == nil {
			t.Errorf("a cross that is counted: %v", n)
		}
		rg.hub.show(board("final", at+2000, 4, "team:KC", 4, "region:US-CA", 4))
		if n := v.next("counts")["n"].(map[string]any); n["team+region"] != nil || n["team"] == nil {
			t.Errorf("a cross that is not counted: %v", n)
		}
		for query, want := range map[string]string{
			"segment=team+region:KC+US-CA": `"dims":{"team+region":{"KC+US-CA":null}}`,
			"dim=team+region":              `"dims":{}`,
			"segment=region:US-NY":         `"dims":{"region":{"US-NY":{"sessions":0,"fans":0,"peak":0,"reach":0}}}`,
		} {
			if status, text, _ := rg.do(http.MethodGet, "/v1/events/final/counts?"+query, ""); status != http.StatusOK || !strings.Contains(text, want) {
				t.Errorf("counts?%s: %d %s", query, status, text)
			}
		}
	})
}

// Whoever waits in a crowd of joins is refused after a while, and in the end the
// gateway takes everybody again.
func TestJoinsWaitForTheirTurn(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rg.put("final", `{}`)
		stuck := make(chan struct{})
		rg.auth.identify = func(id *Identity) error {
			if id.Viewer == "stuck" {
				<-stuck
			}
			id.Service = id.Viewer == "backend"
			return nil
		}
		var joined sync.WaitGroup
		for range maxJoining {
			joined.Go(func() {
				if _, err := rg.try("final", "viewer=stuck", nil); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		begin := time.Now()
		if _, err := rg.try("final", "viewer=v1", nil); err == nil || !strings.HasPrefix(err.Error(), "503 ") || time.Since(begin) != joinPatience {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		begin = time.Now()
		_, err := rg.try("final", "viewer=v1&device=d1&session="+rg.foreign("v1", "d1"), nil)
		if err == nil || !strings.HasPrefix(err.Error(), "503 ") || time.Since(begin) != backPatience {
			t.Errorf("who came back, after %v: %v", time.Since(begin), err)
		}
		beat := func(viewer string) int {
			code, _, _ := rg.do("POST", "/v1/events/final/beats?device=d1&viewer="+viewer, `{"v":1,"t":"beat"}`)
			return code
		}
		begin = time.Now()
		if code := beat("v3"); code != http.StatusServiceUnavailable || time.Since(begin) != joinPatience {
			t.Errorf("by a POST, after %v: %d", time.Since(begin), code)
		}
		begin = time.Now()
		code, text, _ := rg.do("POST", "/v1/events/final/beats?viewer=backend", `[{"t":"beat","viewer":"a"},{"t":"beat","viewer":"b"},{"t":"beat","viewer":"c"}]`)
		if code != http.StatusServiceUnavailable || time.Since(begin) != joinPatience {
			t.Errorf("a list by a POST, after %v: %d %s", time.Since(begin), code, text)
		}
		time.AfterFunc(joinPatience/2, func() { close(stuck) })
		if _, err := rg.try("final", "viewer=v2", nil); err != nil {
			t.Errorf("whoever waited a little: %v", err)
		}
		joined.Wait()
		if code := beat("v3"); code != http.StatusOK || len(rg.g.load.joining) != 0 {
			t.Errorf("by a POST, with time for it: %d; %d joins are under way", code, len(rg.g.load.joining))
		}
		if n := rg.metric("shed_joins_total", ""); n != 4 {
			t.Errorf("%v joins were shed, want 4", n)
		}
	})
}

// The second of a list is refused: the sender is told which session it has, and the
// session does not count until it is named. Sent again, it is no second one.
func TestAListThatIsRefusedHalfWay(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rg.put("final", `{}`)
		rg.auth.identify = func(id *Identity) error { id.Service = true; return nil }
		const path = "/v1/events/final/beats?viewer=backend"
		code, text, _ := rg.do("POST", path, `[{"t":"beat","viewer":"a"},{"t":"beat","viewer":"b","session":"none"}]`)
		k := parse[kept](t, text)
		if code != http.StatusBadRequest || k.Session == "" {
			t.Errorf("%d %s: want 400 with the session of the first", code, text)
		}
		rg.wantWorld(t, "after a list that was refused", 0)
		if code, text, _ := rg.do("POST", path, fmt.Sprintf(`[{"t":"beat","viewer":"a","session":%q},{"t":"beat","viewer":"b"}]`, k.Session)); code != http.StatusOK {
			t.Errorf("sent again: %d %s", code, text)
		}
		rg.wantWorld(t, "after it was mended", 2)
	})
}

// A connection waits in the kernel until there is time for it. If that takes too
// long newcomers are refused at once, and it is a sign of overload.
func TestWhoWaitedForTooLongIsRefused(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rg.put("final", `{}`)
		v := rg.watch("viewer=v1&device=d1")
		rg.g.load.accepted(joinPatience.Milliseconds() - 1)
		if _, err := rg.try("final", "viewer=v2", nil); err != nil {
			t.Errorf("after a little less: %v", err)
		}
		rg.g.load.accepted(joinPatience.Milliseconds())
		begin := time.Now()
		if _, err := rg.try("final", "viewer=v3", nil); err == nil || !strings.HasPrefix(err.Error(), "503 ") || time.Since(begin) > 0 {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		if again, err := rg.try("final", "viewer=v1&device=d1&session="+v.session, nil); err != nil || again.session != v.session {
			t.Errorf("who connects again gets %v", err)
		}
		if s := rg.g.load.line.take(); s != 1 {
			t.Errorf("the strain is %v s in line, want 1", s)
		}
		time.Sleep(joinPatience)
		if _, err := rg.try("final", "viewer=v4", nil); err != nil {
			t.Errorf("when no connection came since, as behind a balancer: %v", err)
		}
		rg.g.load.accepted(joinPatience.Milliseconds())
		rg.g.load.accepted(0)
		if _, err := rg.try("final", "viewer=v5", nil); err != nil {
			t.Errorf("when nobody waits any more: %v", err)
		}
	})

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g := &Gateway{load: &overload{}}
	queue := g.LastInLine(l)
	const wait = 300 * time.Millisecond // what the test is about: there is no other clock in the kernel
	for _, waits := range []bool{false, true} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if waits {
			time.Sleep(wait)
		}
		s, err := queue.Accept()
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if ms := int64(1000 * g.load.line.take()); runtime.GOOS == "linux" && (ms >= wait.Milliseconds()-20) != waits {
			t.Errorf("a connection that waited (%v) is said to have waited %d ms", waits, ms)
		}
	}
}

// Where shedding is switched off overload is still told.
func TestNoShed(t *testing.T) {
	x := &strained{s: with(lateFrame, 2)}
	rc := rigConfig{set: func(cfg *Config) { cfg.sense, cfg.NoShed = x.sense, true }}
	inBubble(t, rc, func(t *testing.T, rg *rig) {
		rg.put("final", `{"dims":["team","region","team+region"]}`)
		time.Sleep(5 * time.Second)
		rg.watch("viewer=v1&team=KC&region=US-CA")
		ticked()
		if n := rg.redis.count("final", "team+region:KC+US-CA"); n != 1 || rg.g.Overloaded() || rg.metric("overload_level", "") != topLevel {
			t.Errorf("%d in the cross, overloaded: %v, level %v", n, rg.g.Overloaded(), rg.metric("overload_level", ""))
		}
	})
}

// Frames of a board that the workers come late to are late.
func TestStrainIsMeasured(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rg.watch("viewer=v1&team=KC")
		ticked()
		if s := rg.g.load.measure(); s[lateTick] != 0 || s[lateFrame] != 0 || s[crowding] == 0 {
			t.Errorf("a gateway with one viewer: %v", s)
		}
	})
	var w worst
	w.note(-5, 2000)
	w.note(500, 2000)
	w.note(100, 1000)
	if got := w.take(); got != 0.25 || w.take() != 0 {
		t.Errorf("the worst is %v, want 0.25, and then nothing", got)
	}
}
