package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"grandstand/redis/redistest"
)

// What a blocker decides about devices that only send heartbeats is archived as
// what a gateway decides is: a stopping blocker waits until it was fetched.
func TestDecisionsOfABlockerAreArchived(t *testing.T) {
	redis, archive := redistest.StartServer(t).URL(), "file:"+archiveOf(t)
	b := startBlocker(t, "blocker", redis, "--journal", filepath.Join(t.TempDir(), "journal"), "--peer", freeAddr(t), "--seal-over", "30s")
	start(t, "archiver", "archiver", "--admin", "", "--redis", redis, "--secret", testSecret, "--archive", archive)
	for i, want := range []int{http.StatusOK, http.StatusConflict} {
		path := fmt.Sprintf("%s/v1/accounts/family/devices/device-%d/heartbeat", b.url, i)
		if status, body := request(t, http.MethodPost, path, `{"event":"final","limit":1}`, nil); status != want {
			t.Fatalf("device %d: %d %s, want %d", i, status, body, want)
		}
	}
	b.signal(syscall.SIGTERM)
	if code := b.wait(60 * time.Second); code != 0 || strings.Contains(b.log.String(), "not archived yet") {
		t.Fatalf("the blocker ended with code %d, its log:\n%s", code, tail(b.log.String(), 2000))
	}
	cmd := exec.Command(os.Args[0], "archive", "cat", "--archive", archive, "final")
	cmd.Env = append(os.Environ(), beGrandstand+"=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("cat: %v\n%s", err, errs.String())
	}
	for _, outcome := range []string{"acquired", "blocked"} {
		if n := strings.Count(out.String(), outcome); n != 1 {
			t.Errorf("%d rows say %q:\n%s", n, outcome, out.String())
		}
	}
	for _, id := range []string{"family", "device-"} {
		if strings.Contains(out.String(), id) {
			t.Errorf("the archive has an id: %s", out.String())
		}
	}
}
