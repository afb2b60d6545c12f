package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
	"grandstand/gateway/journal"
)

// kept is what a request with beats is answered.
type kept struct {
	Session, Code string
	Sessions      []string
}

func (rg *rig) postBeats(t *testing.T, query, body string, want int) kept {
	t.Helper()
	code, text, h := rg.do(http.MethodPost, "/v1/events/final/beats?"+query, body)
	if code != want {
		t.Errorf("%s is answered %d %s, want %d", body, code, text, want)
	}
	if k := parse[kept](t, text); code == 200 || k.Code == "unavailable" && h.Get("Retry-After") != "" {
		return k
	}
	t.Errorf("%s is refused with %s %v", body, text, h)
	return kept{}
}

func (rg *rig) wantWorld(t *testing.T, what string, want int) {
	t.Helper()
	ticked()
	ticked()
	if n := rg.redis.count("final", "world"); n != want {
		t.Errorf("%s: %d sessions are counted, want %d", what, n, want)
	}
}

func TestBeatsAreAnsweredWhenTheyAreDurable(t *testing.T) {
	inJournal(t, func(t *testing.T, rg *rig, j *fakeJournal) {
		j.set(func() { j.every = 700 * time.Millisecond })
		time.Sleep(time.Second)
		start := time.Now()
		k := rg.postBeats(t, "viewer=v1", `[{"seq":1,"state":"playing"},{"t":"event","seq":2,"name":"startup"},{"seq":3}]`, 200)
		if d := time.Since(start); d < 700*time.Millisecond || d > 720*time.Millisecond {
			t.Errorf("answered after %v", d)
		}
		wantLines(t, "one request", j.said(t, k.Session), []string{
			`join {"how":"opened","interval_ms":10000}`, `beat 1`, `event 2`, `beat 3`})
		rg.wantWorld(t, "one request", 1)
	})
}

// A request whose beats are refused renews its sessions; one that it opened is
// counted when its sender shows that it knows it.
func TestRefusedBeats(t *testing.T) {
	inJournal(t, func(t *testing.T, rg *rig, j *fakeJournal) {
		j.set(func() { j.refuse = true })
		for range 10 { // who does not read the answer is no crowd
			rg.postBeats(t, "viewer=v1&device=d1", `{"seq":1,"state":"playing"}`, 503)
		}
		k := rg.postBeats(t, "viewer=v2&device=d2", `{"seq":1,"state":"playing"}`, 503)
		rg.wantWorld(t, "nobody came back", 0)
		again := fmt.Sprintf(`{"seq":1,"state":"playing","session":%q}`, k.Session)
		for range 20 {
			if a := rg.postBeats(t, "viewer=v2&device=d2", again, 503); a.Session != k.Session {
				t.Errorf("session %s became %s", k.Session, a.Session)
			}
			time.Sleep(4 * time.Second)
		}
		rg.wantWorld(t, "one came back", 1)
		j.set(func() { j.refuse = false })
		rg.postBeats(t, "viewer=v2&device=d2", again, 200)
		rg.wantWorld(t, "one is kept", 1)
		if n := rg.metric("refused_total", "beats"); n != 31 {
			t.Errorf("%v refusals are counted", n)
		}

		// A part of a list is refused: it is sent again as a whole.
		j.set(func() { j.without = 8 })
		list := fmt.Sprintf(`[{"seq":7,"session":%q},{"seq":8,"session":%[1]q},{"seq":9,"session":%[1]q}]`, k.Session)
		rg.postBeats(t, "viewer=v2&device=d2", list, 503)
		j.set(func() { j.without = 0 })
		rg.postBeats(t, "viewer=v2&device=d2", list, 200)
		var seqs []uint64
		for _, e := range j.events(t, k.Session) {
			if e.HasSeq {
				seqs = append(seqs, e.Seq)
			}
		}
		if !slices.Equal(seqs, []uint64{1, 7, 9, 7, 8, 9}) {
			t.Errorf("kept are %v", seqs)
		}
	})
}

// A disk that stalls is not waited for for long.
func TestBeatsOnADiskThatStalls(t *testing.T) {
	inJournal(t, func(t *testing.T, rg *rig, j *fakeJournal) {
		k := rg.postBeats(t, "viewer=v1", `{"seq":1,"state":"playing"}`, 200)
		v := rg.watch("viewer=v2")
		j.set(func() { j.stalled = true })
		start := time.Now()
		again := fmt.Sprintf(`{"seq":2,"state":"playing","session":%q}`, k.Session)
		rg.postBeats(t, "viewer=v1", again, 503)
		if d := time.Since(start); d > keepPatience+100*time.Millisecond {
			t.Errorf("answered after %v", d)
		}
		v.beat()
		rg.wantWorld(t, "it stalls", 2)
		v.wantAcks("it stalls")
		j.set(func() { j.stalled = false })
		time.Sleep(20 * time.Millisecond)
		v.wantAcks("it works again", 1)
		rg.postBeats(t, "viewer=v1", again, 200)
	})
}

// Verdicts are written when they change something, and say so.
func TestTheJournalOfVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bs := &blockers{leases: newFakeLeases(), redis: newFakeRedis()}
		j := &fakeJournal{}
		time.Sleep(337 * time.Millisecond)
		rg := newRig(t, withJournal(j, rigConfig{redis: bs.redis, set: func(c *Config) { c.Leases, c.Rules = bs.leases, bs.rules.Load }}))
		j.committed = rg.g.Committed
		time.Sleep(10 * time.Millisecond)
		tv := rg.watch(device("tv")).keep(5 * time.Second)
		rg.watch(device("phone")).keep(5 * time.Second)
		time.Sleep(20 * time.Second)
		pad := rg.watch(device("pad")).keep(5 * time.Second)
		pad.blocked("device_limit")
		time.Sleep(20 * time.Second)
		tv.leave()
		pad.next("unblocked")
		time.Sleep(5 * time.Second)
		var got []string
		for _, e := range j.events(t, pad.session) {
			if e.Kind == grandstand.RawVerdict {
				got = append(got, string(e.Data))
			}
		}
		want := []string{
			`{"allowed":false,"code":"device_limit","rule":"token","limit":2,"current":2,"outcome":"blocked"}`,
			`{"allowed":true,"rule":"token","limit":2,"current":2,"outcome":"acquired"}`}
		if !slices.Equal(got, want) {
			t.Errorf("verdicts\n%q, want\n%q", got, want)
		}
		n := 0
		for _, e := range j.events(t, tv.session) {
			if e.Kind == grandstand.RawVerdict {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d verdicts of one that played all the time", n)
		}
		rg.stop()
	})
}

// A session that nobody can decide about is said to play.
func TestTheJournalOfVerdictsThatNobodyGave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bs := &blockers{leases: newFakeLeases(), redis: newFakeRedis()}
		j := &fakeJournal{}
		time.Sleep(337 * time.Millisecond)
		rg := newRig(t, withJournal(j, rigConfig{redis: bs.redis, set: func(c *Config) { c.Leases, c.Rules = bs.leases, bs.rules.Load }}))
		j.committed = rg.g.Committed
		time.Sleep(10 * time.Millisecond)
		bs.leases.set(func() { bs.leases.down = true })
		v := rg.watch(device("tv")).keep(5 * time.Second)
		time.Sleep(2 * time.Second)
		lines := j.said(t, v.session)
		if n := len(lines); n < 2 || lines[1] != `verdict {"allowed":true,"code":"unavailable"}` {
			t.Errorf("without an answer the journal says %q", lines)
		}
		rg.stop()
	})
}

// With a journal on a disk: what was acknowledged is in its files when it is
// opened again, and no file knows whom it is about.
func TestAcknowledgedEventsAreOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	var rg *rig
	j, err := journal.Open(journal.Config{Dir: dir, Gateway: "g", Clock: fakeClock{}, Committed: func() { rg.g.Committed() }})
	if err != nil {
		t.Fatal(err)
	}
	leases := newFakeLeases()
	rg = newRig(t, rigConfig{tcp: true, set: func(c *Config) { c.Journal, c.Leases = j, leases }})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- j.Run(ctx) }()
	waitReady(rg)

	const viewers, beats = 8, 50
	sessions := map[string]uint64{} // the highest seq that was acknowledged
	var all []*viewer
	for i := range viewers {
		v := rg.watch(fmt.Sprintf("viewer=canary-v%d&device=canary-d%d&account=canary-a&limit=64&name=canary-n%d&team=KC", i, i, i))
		all = append(all, v)
		for range beats {
			v.beat()
		}
		v.send(fmt.Sprintf(`{"t":"event","seq":%d,"name":"startup","data":{"ms":1}}`, beats+1))
	}
	for _, v := range all {
		for v.next("ack")["seq"] != float64(beats+1) { // which fails after 20 s
		}
		sessions[v.session] = beats + 1
	}
	k := rg.postBeats(t, "viewer=canary-v&device=canary-d&account=canary-a", `{"seq":9,"state":"playing"}`, 200)
	sessions[k.Session] = 9

	// Killed now, another process would find this.
	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	wantOnDisk(t, crashed, sessions, false)
	rg.stop()
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	wantOnDisk(t, dir, sessions, true)
}

// wantOnDisk checks the files of a journal that was closed, or left behind.
func wantOnDisk(t *testing.T, dir string, acked map[string]uint64, closed bool) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("there are no files: %v", err)
	}
	seen := map[string]map[uint64]int{}
	leaves := 0
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("canary")) || bytes.Contains(b, []byte("127.0.0.1")) || bytes.Contains(b, []byte{127, 0, 0, 1}) {
			t.Errorf("%s knows whom it is about", name)
		}
		for _, e := range decodeEvents(t, b, "") {
			id := string(e.Session)
			if seen[id] == nil {
				seen[id] = map[uint64]int{}
			}
			if e.HasSeq {
				seen[id][e.Seq]++
			}
			if e.Kind == grandstand.RawLeave {
				leaves++
			}
			if e.Viewer.IsZero() || e.Device.IsZero() || e.Account.IsZero() {
				t.Errorf("nobody's event: %+v", e)
			}
		}
	}
	for id, last := range acked {
		for seq := uint64(1); seq <= last; seq++ {
			if n := seen[id][seq]; n != 1 && last != 9 || last == 9 && seen[id][9] != 1 {
				t.Fatalf("%s: event %d stands %d times", id, seq, n)
			}
		}
	}
	if closed != (leaves == len(acked)) {
		t.Errorf("%d leaves of %d sessions", leaves, len(acked))
	}
}
