package redis

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"grandstand"
)

// deployed starts Redis as deployments do, with its users and an append-only file
// in dir, and returns a client and what kills it.
func deployed(t *testing.T, dir, port string) (c *Client, kill func()) {
	t.Helper()
	for _, name := range []string{"start.sh", "users.acl", "redis.conf"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(aclFile), name))
		ok(t, err)
		text = bytes.Replace(text, []byte("dir /data"), []byte("dir "+dir), 1)
		ok(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	cmd := exec.Command("sh", filepath.Join(dir, "start.sh"), "redis.conf", "--bind", "127.0.0.1", "--port", port)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "REDIS_PASSWORD=counts", "REDIS_OPERATOR_PASSWORD=operates"}
	ok(t, cmd.Start())
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(kill)
	eventually(t, 10*time.Second, "Redis is there", func() bool {
		var err error
		c, err = Open(context.Background(), Config{Address: "redis://grandstand:counts@127.0.0.1:" + port, Timeout: 5 * time.Second})
		return err == nil
	})
	t.Cleanup(c.Close)
	return c, kill
}

func freePort(t *testing.T) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer l.Close()
	_, port, err = net.SplitHostPort(l.Addr().String())
	ok(t, err)
	return port
}

// Redis reads its append-only file as the user default. One that may do nothing
// loses all that scripts wrote, which is in transactions, and says so in a log only.
func TestARestartLosesNothingThatScriptsWrote(t *testing.T) {
	port, dir, now := freePort(t), t.TempDir(), time.Now().UnixMilli()
	c, kill := deployed(t, dir, port)
	name := grandstand.RevocationName{Kind: grandstand.RevokeToken, Key: acct(1)}
	ok(t, c.Revoke(t.Context(), now, []grandstand.Revocation{{Name: name, Before: now, Until: now + 60_000}}))
	kill()
	c, _ = deployed(t, dir, port)
	list, _, err := c.Revocations(t.Context(), 0)
	ok(t, err)
	if len(list) != 1 {
		t.Errorf("of one revocation the restart left %d", len(list))
	}
}

// Nobody is the user default.
func TestNobodyIsTheDefaultUser(t *testing.T) {
	port := freePort(t)
	deployed(t, t.TempDir(), port)
	for _, address := range []string{"redis://127.0.0.1:" + port, "redis://:x@127.0.0.1:" + port, "redis://default:x@127.0.0.1:" + port} {
		if c, err := Open(t.Context(), Config{Address: address}); err == nil {
			c.Close()
			t.Errorf("%s is let in", address)
		}
	}
}
