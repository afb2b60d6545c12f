//go:build chaos

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// families are accounts of two streams with two devices that play all the time
// and, to tempt the system, a third one that always wants to. Whoever of the two
// is ever told that it is blocked has been kicked for nothing.
type families struct {
	t     *testing.T
	stand *stand
	life  context.Context
	since time.Time // that two of each play
	all   sync.WaitGroup
	beats atomic.Int64

	mu      sync.Mutex
	kicks   []kick          // guarded by mu
	blocked map[string]bool // guarded by mu; thirds that are blocked now
}

// kick is a device that was blocked and must not be.
type kick struct {
	at   time.Time
	text string
}

const (
	familyCount = 12
	deviceBeat  = 5 * time.Second
)

// gatherFamilies returns when the two of every account play and its third is
// blocked.
func gatherFamilies(s *stand) (*families, context.CancelFunc) {
	life, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	f := &families{t: s.t, stand: s, life: life, since: time.Now(), blocked: map[string]bool{}}
	for i := range familyCount {
		account := fmt.Sprint("family-", i)
		for d := range 2 {
			device := fmt.Sprint("device-", d)
			if i%3 == 2 && d == 1 {
				f.all.Go(func() { f.playByREST(account, device) })
			} else {
				f.all.Go(func() { f.play(account, device, i+d, false) })
			}
		}
	}
	for i := range familyCount { // thirds are to find the places taken
		account := fmt.Sprint("family-", i)
		eventually(s.t, 20*time.Second, "two of "+account+" play", func() error {
			if list := devicesOf(s.t, &process{url: s.blocker.url}, account); strings.Count(playing(list), ",") != 1 {
				return fmt.Errorf("its devices: %+v", list)
			}
			return nil
		})
	}
	for i := range familyCount {
		f.all.Go(func() { f.play(fmt.Sprint("family-", i), "third", i+2, true) })
	}
	if n := f.await(45 * time.Second); n != familyCount {
		s.t.Fatalf("%d of %d thirds are blocked at first", n, familyCount)
	}
	return f, cancel
}

// await waits until all thirds are blocked, for d at most, and returns how many
// are.
func (f *families) await(d time.Duration) (n int) {
	for end := time.Now().Add(d); ; <-time.After(100 * time.Millisecond) {
		n = 0
		f.mu.Lock()
		for _, blocked := range f.blocked {
			if blocked {
				n++
			}
		}
		f.mu.Unlock()
		if n == familyCount || time.Now().After(end) {
			return n
		}
	}
}

// kicked returns who was kicked, in the order of time.
func (f *families) kicked() []kick {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]kick(nil), f.kicks...)
}

// playing returns for how long two of every account have played.
func (f *families) playing() time.Duration { return time.Since(f.since) }

func (f *families) kick(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kicks = append(f.kicks, kick{time.Now(), fmt.Sprintf(format, args...)})
}

// play plays on one gateway after another, as one session.
func (f *families) play(account, device string, gateway int, third bool) {
	session := ""
	for ; f.life.Err() == nil; gateway++ {
		f.connection(f.stand.gateways[gateway%len(f.stand.gateways)].url, account, device, &session, third)
		select {
		case <-f.life.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// connection plays until the connection ends, or says nothing for as long as the
// SDK waits.
func (f *families) connection(gateway, account, device string, session *string, third bool) {
	q := url.Values{"viewer": {account}, "account": {account}, "device": {device}, "limit": {"2"}}
	if *session != "" {
		q.Set("session", *session)
	}
	dialing, cancel := context.WithTimeout(f.life, 5*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(dialing, strings.Replace(gateway, "http", "ws", 1)+"/v1/events/family/live?"+q.Encode(),
		&websocket.DialOptions{Subprotocols: []string{"grandstand.v1"}})
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	life, end := context.WithCancel(f.life)
	defer end()
	go func() {
		tick := time.NewTicker(deviceBeat)
		defer tick.Stop()
		for beat(life, c, 1) == nil {
			f.beats.Add(1)
			select {
			case <-tick.C:
			case <-life.Done():
				return
			}
		}
	}()
	for {
		reading, stop := context.WithTimeout(life, 26*time.Second)
		_, b, err := c.Read(reading)
		stop()
		var m told
		if err != nil || json.Unmarshal(b, &m) != nil || m.T == "drain" {
			return
		}
		switch m.T {
		case "hello":
			*session = m.Session
		case "blocked":
			if !third {
				f.kick("%s of %s on %s: %s", device, account, gateway, b)
			}
			f.note(account, third, true)
		case "unblocked":
			f.note(account, third, false)
		}
	}
}

func (f *families) note(account string, third, blocked bool) {
	if third {
		f.mu.Lock()
		f.blocked[account] = blocked
		f.mu.Unlock()
	}
}

// playByREST sends heartbeats to the blocker. What is not answered is no verdict.
func (f *families) playByREST(account, device string) {
	client := &http.Client{Timeout: 3 * time.Second}
	said := map[string]any{"event": "family", "limit": 2, "interval_ms": deviceBeat.Milliseconds()}
	tick := time.NewTicker(deviceBeat)
	defer tick.Stop()
	for {
		body, _ := json.Marshal(said)
		resp, err := client.Post(f.stand.blockerURL()+"/v1/accounts/"+account+"/devices/"+device+"/heartbeat", "application/json", bytes.NewReader(body))
		if err == nil {
			var answer struct{ Session, Hold, Code, Message string }
			_ = json.NewDecoder(resp.Body).Decode(&answer)
			resp.Body.Close()
			switch resp.StatusCode {
			case http.StatusOK:
				said["session"], said["hold"] = answer.Session, answer.Hold
				f.beats.Add(1)
			case http.StatusConflict, http.StatusGone:
				f.kick("%s of %s by REST: %d %s %s", device, account, resp.StatusCode, answer.Code, answer.Message)
			}
		}
		select {
		case <-f.life.Done():
			return
		case <-tick.C:
		}
	}
}
