package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"grandstand/archiver"
	"grandstand/archiver/miniotest"
	"grandstand/redis/redistest"
)

const (
	senders       = 40
	sentByEach    = 100
	sendEvery     = 50 * time.Millisecond // within the message rate, with its burst
	unackedAtMost = 8
)

// sender is a player that sends numbered events, and sends again whatever it saw
// no acknowledgement of, on whatever gateway answers.
type sender struct {
	name    string
	targets []*atomic.Pointer[process]
	twice   bool          // it sends everything twice
	last    uint64        // the number after which it is done
	every   time.Duration // between two numbers

	session string
	acked   uint64
	all     *atomic.Int64 // acknowledged by anybody
}

// run sends until everything is acknowledged.
func (s *sender) run(ctx context.Context, first int) error {
	for i := first; s.acked < s.last; i++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: acknowledged up to %d: %w", s.name, s.acked, err)
		}
		g := s.targets[i%len(s.targets)].Load()
		if err := s.connection(ctx, g.url); err != nil {
			select { // it is being killed, or refuses: to the next
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// connection sends over one connection until that ends.
func (s *sender) connection(ctx context.Context, target string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	query := url.Values{"viewer": {s.name}, "device": {"device of " + s.name}, "team": {"KC"}}
	if s.session != "" {
		query.Set("session", s.session)
	}
	address := strings.Replace(target, "http", "ws", 1) + "/v1/events/final/live?" + query.Encode()
	ws, _, err := websocket.Dial(ctx, address, &websocket.DialOptions{Subprotocols: []string{"grandstand.v1"}})
	if err != nil {
		return err
	}
	defer ws.CloseNow()
	var acked atomic.Uint64
	acked.Store(s.acked)
	ended := make(chan error, 1)
	go func() { ended <- s.listen(ctx, ws, &acked) }()
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	for next := s.acked + 1; acked.Load() < s.last; {
		select {
		case err := <-ended:
			s.acked = acked.Load()
			return err
		case <-tick.C:
		}
		if next > s.last || next > acked.Load()+unackedAtMost {
			continue
		}
		b := fmt.Appendf(nil, `{"t":"event","seq":%d,"name":"mark","data":{"n":%d}}`, next, next)
		err := ws.Write(ctx, websocket.MessageText, b)
		if s.twice && err == nil {
			err = ws.Write(ctx, websocket.MessageText, b)
		}
		if err != nil {
			<-ended
			s.acked = acked.Load()
			return err
		}
		next++
	}
	s.acked = acked.Load()
	ws.Close(websocket.StatusNormalClosure, "")
	<-ended
	return nil
}

// listen takes the session and acknowledgements.
func (s *sender) listen(ctx context.Context, ws *websocket.Conn, acked *atomic.Uint64) error {
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		var m struct {
			T       string
			Session string
			Seq     uint64
		}
		if err := json.Unmarshal(b, &m); err != nil {
			return err
		}
		switch m.T {
		case "hello":
			s.session = m.Session
		case "ack":
			s.all.Add(int64(m.Seq - acked.Swap(m.Seq)))
		case "error":
			return fmt.Errorf("refused: %s", b)
		}
	}
}

// Everything that was acknowledged is in the bucket, once in the end, though a
// gateway and an archiver are killed, Redis is killed and emptied, the bucket is away
// for a while, players send twice and to two gateways, and a simulated crowd
// changes networks all the time.
func TestEveryAcknowledgedEventIsArchived(t *testing.T) {
	server := redistest.StartServer(t)
	redis := server.URL()
	minio := miniotest.Start(t)
	bucket := minio.Bucket("events")
	startAggregator(t, "aggregator", redis, "--archive", bucket)
	journals := t.TempDir()
	gateway := func(n string, more ...string) *process {
		return startGateway(t, "gateway-"+n, redis, append([]string{"--archive", bucket, "--journal", filepath.Join(journals, n),
			"--journal-age", "1s", "--peer", freeAddr(t), "--drain-over", "1s", "--seal-over", "30s"}, more...)...)
	}
	archive := func(n string) *process {
		return start(t, "archiver-"+n, "archiver", "--admin", "", "--redis", redis, "--secret", testSecret, "--archive", bucket)
	}
	var one, two atomic.Pointer[process]
	one.Store(gateway("1"))
	two.Store(gateway("2"))
	archivers := []*process{archive("1"), archive("2")}

	var total atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	list := make([]*sender, senders)
	var wg sync.WaitGroup
	for i := range list {
		list[i] = &sender{name: fmt.Sprintf("viewer-%d", i), targets: []*atomic.Pointer[process]{&one, &two}, twice: i%5 == 0, last: sentByEach, every: sendEvery, all: &total}
		wg.Go(func() {
			if err := list[i].run(ctx, i); err != nil {
				t.Error(err)
			}
		})
	}
	acked := filepath.Join(t.TempDir(), "acked")
	crowd := start(t, "crowd", "simulate", "--target", one.Load().url, "--target", two.Load().url, "--event", "crowd", "--shared", "--acked", acked,
		"--viewers", "200", "--profile", "flat", "--duration", "12s", "--beat", "5s", "--moves", "5", "--churn", "1", "--silent", "0.3")
	reached := func(share int) {
		eventually(t, 60*time.Second, fmt.Sprintf("%d %% are acknowledged", share), func() error {
			if total.Load()*100 < int64(share*senders*sentByEach) {
				return errNotYet
			}
			return nil
		})
	}
	reached(25)
	one.Load().kill()
	one.Store(gateway("1")) // adopts what the killed one left
	reached(40)
	server.Kill()
	server.Restart() // empty
	archivers[0].kill()
	minio.Kill()
	reached(55)
	server.FlushAll()
	minio.Restart()
	archivers[0] = archive("3")
	wg.Wait()
	if t.Failed() {
		return
	}
	if code := crowd.wait(60 * time.Second); code != 0 && code != 3 { // what it was shown is not the question
		t.Fatalf("the crowd ended with code %d", code)
	}
	for _, g := range []*process{one.Load(), two.Load()} {
		g.signal(syscall.SIGTERM)
	}
	for _, g := range []*process{one.Load(), two.Load()} {
		if code := g.wait(60 * time.Second); code != 0 || strings.Contains(g.log.String(), "not archived yet") {
			t.Errorf("%s ended with code %d, its log:\n%s", g.name, code, tail(g.log.String(), 2000))
		}
	}
	r := verifyArchive(t, bucket, acked, list)
	if e := r.Events["final"]; e == nil || e.Numbered != senders*sentByEach || e.Sessions != senders {
		t.Errorf("archived: %+v, want %d numbers of %d sessions", e, senders*sentByEach, senders)
	}
	if e := r.Events["crowd"]; e == nil || e.Numbered < 400 {
		t.Errorf("archived of the crowd: %+v, want more", e)
	}
}

// verifyArchive has the program prove that all is there: what is in the file
// acked, unless that is "", and what the senders were acknowledged.
func verifyArchive(t *testing.T, archive, acked string, list []*sender) (r archiver.VerifyReport) {
	t.Helper()
	var all bytes.Buffer
	if acked != "" {
		b, err := os.ReadFile(acked)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	for _, s := range list {
		for seq := range s.acked {
			fmt.Fprintln(&all, "final", s.session, seq+1)
		}
	}
	lines := bytes.Count(all.Bytes(), []byte("\n"))
	file := filepath.Join(t.TempDir(), "acked")
	if err := os.WriteFile(file, all.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "archive", "verify", "--json", "--archive", archive, "--acked", file)
	cmd.Env = append(os.Environ(), beGrandstand+"=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if e := json.Unmarshal(out.Bytes(), &r); e != nil || err != nil {
		t.Fatalf("verify: %v, %v\n%s\n%s", err, e, tail(out.String(), 3000), tail(errs.String(), 1000))
	}
	numbered, resent := uint64(0), uint64(0)
	for _, e := range r.Events {
		numbered, resent = numbered+e.Numbered, resent+e.Resent
	}
	if numbered < uint64(lines) {
		t.Errorf("%d numbers are archived, %d were acknowledged", numbered, lines)
	}
	t.Logf("%d numbers acknowledged, %d archived in %d rows of %d objects: 0 lost; %d came again", lines, numbered, r.Rows, r.Objects, resent)
	return r
}
