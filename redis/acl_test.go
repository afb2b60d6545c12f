package redis

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"grandstand/redis/redistest"
)

// aclFile has the users of Redis as deployments have them.
const aclFile = "../deploy/redis/users.acl"

// ofTheLibrary are commands that rueidis sends by itself: signs of life, the
// nodes of a cluster (SHARDS from Redis 8 on), and calls of a slot that moves.
// AUTH and HELLO need no permission.
var ofTheLibrary = []string{"ping", "cluster|slots", "cluster|shards", "asking"}

// lookedWith are commands by which tests look behind the client, or break things.
var lookedWith = []string{"+keys", "+pttl", "+exists", "+xlen", "+llen", "+hlen", "+script|flush"}

// aclRules returns what a user may do who has that password, and no other.
func aclRules(t *testing.T, user, password string) []string {
	t.Helper()
	text, err := os.ReadFile(aclFile)
	ok(t, err)
	for line := range strings.Lines(string(text)) {
		if rest, is := strings.CutPrefix(line, "user "+user+" on #@"+password+"@ "); is {
			return strings.Fields(rest)
		}
	}
	t.Fatalf("%s has no user %s with %s", aclFile, user, password)
	return nil
}

func grandstandRules(t *testing.T) []string {
	t.Helper()
	return aclRules(t, "grandstand", "REDIS_PASSWORD")
}

// asUser gives the servers the user grandstand, who may do no more than in a
// deployment and what the tests need besides, and returns the URL of that user.
func asUser(t *testing.T, url string, servers ...*redistest.Server) string {
	t.Helper()
	rules := slices.Concat([]string{"ACL", "SETUSER", "grandstand", "on", ">secret"}, grandstandRules(t), lookedWith)
	for _, s := range servers {
		s.Do(rules...)
	}
	return strings.Replace(url, "redis://", "redis://grandstand:secret@", 1)
}

// TestTheUserMayDoWhatIsDone compares the commands that are allowed with those in
// the code. That they suffice is shown by TestServer and TestCluster, which run
// as that user.
func TestTheUserMayDoWhatIsDone(t *testing.T) {
	may := map[string]bool{}
	for _, rule := range grandstandRules(t) {
		if command, is := strings.CutPrefix(rule, "+"); is {
			may[command] = true
		} else if !slices.Contains([]string{"resetkeys", "resetchannels", "~gs:*", "-@all"}, rule) {
			t.Errorf("the rule %q is not one of those that this test knows", rule)
		}
	}
	used := map[string]bool{}
	for _, command := range ofTheLibrary {
		used[command] = true
	}
	ofLua := regexp.MustCompile(`redis\.p?call\(['"](\w+)['"]`)
	ofGo := regexp.MustCompile(`\.B\(\)\.(?:Arbitrary\("(\w+)"|([A-Z]\w+)\()|\.add\("(\w+)", `) // add: commands of save_series.lua
	for glob, re := range map[string]*regexp.Regexp{"*.go": ofGo, "lua/*.lua": ofLua, "lua/leases/*.lua": ofLua} {
		files, err := filepath.Glob(glob)
		ok(t, err)
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			text, err := os.ReadFile(f)
			ok(t, err)
			for _, m := range re.FindAllStringSubmatch(string(text), -1) {
				used[strings.ToLower(strings.Join(m[1:], ""))] = true
			}
		}
	}
	for _, command := range slices.Sorted(maps.Keys(used)) {
		if !may[command] {
			t.Errorf("%s is used, but the user grandstand of %s may not: add +%s", command, aclFile, command)
		}
	}
	for _, command := range slices.Sorted(maps.Keys(may)) {
		if !used[command] {
			t.Errorf("nobody uses %s: take +%s from %s", command, command, aclFile)
		}
	}
}

// A replica copies everything, so its user may do nothing else, and nobody else
// may do that.
func TestTheReplicaMayCopyAndNoMore(t *testing.T) {
	master, replica := redistest.StartServer(t), redistest.StartServer(t)
	asUser(t, master.URL(), master)
	master.Do(slices.Concat([]string{"ACL", "SETUSER", "replica", "on", ">copies"}, aclRules(t, "replica", "REDIS_REPLICA_PASSWORD"))...)
	master.Do("CONFIG", "SET", "repl-diskless-sync-delay", "0")
	master.Do("SET", "gs:k", "v")
	replica.Do("CONFIG", "SET", "masteruser", "replica")
	replica.Do("CONFIG", "SET", "masterauth", "copies")
	host, port, _ := strings.Cut(master.Addr(), ":")
	replica.Do("REPLICAOF", host, port)
	eventually(t, 10*time.Second, "the copy", func() bool { return replica.Do("GET", "gs:k") == "v" })
	for _, c := range []struct {
		user    string
		command []string
		may     bool
	}{
		{"replica", []string{"PSYNC", "?", "-1"}, true},
		{"replica", []string{"GET", "gs:k"}, false},
		{"replica", []string{"SET", "gs:k", "x"}, false},
		{"grandstand", []string{"GET", "gs:k"}, true},
		{"grandstand", []string{"PSYNC", "?", "-1"}, false},
		{"grandstand", []string{"SYNC"}, false},
	} {
		if answer := master.Do(slices.Concat([]string{"ACL", "DRYRUN", c.user}, c.command)...); answer == "OK" != c.may {
			t.Errorf("%s asks for %v: %s", c.user, c.command, answer)
		}
	}
}

// What start.sh gives to redis-server: the user replica has a password of its own,
// and is there only where there are replicas.
// An .env of before stops a cluster, with a word, and nothing else.
func TestANodeOfAClusterNeedsItsPassword(t *testing.T) {
	cmd := exec.Command("sh", filepath.Join(filepath.Dir(aclFile), "start.sh"), "cluster.conf")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "REDIS_PASSWORD=counts", "REDIS_OPERATOR_PASSWORD=operates", "REDIS_REPLICA_PASSWORD="}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "REDIS_REPLICA_PASSWORD: has to be in .env") {
		t.Errorf("it ends with %v, and says %s", err, out)
	}
}

func TestOnlyNodesOfAClusterAreCopied(t *testing.T) {
	hash := func(password string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(password))) }
	for name, c := range map[string]struct{ config, password, user, auth string }{
		"single":  {"redis.conf", "", "", ""},
		"cluster": {"cluster.conf", "copies", "user replica on #" + hash("copies") + " ", "masterauth copies\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ok(t, os.WriteFile(filepath.Join(dir, "redis-server"), []byte("#!/bin/sh\nexit 0\n"), 0o700))
			cmd := exec.Command("sh", filepath.Join(filepath.Dir(aclFile), "start.sh"), c.config)
			cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "TMPDIR=" + dir,
				"REDIS_PASSWORD=counts", "REDIS_OPERATOR_PASSWORD=operates", "REDIS_REPLICA_PASSWORD=" + c.password}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("start.sh: %v\n%s", err, out)
			}
			users, err := os.ReadFile(filepath.Join(dir, "users.acl"))
			ok(t, err)
			for _, want := range []string{"user default off ~* &* +@all\n", "user grandstand on #" + hash("counts") + " ", "user operator on #" + hash("operates") + " ", c.user} {
				if !strings.Contains(string(users), want) {
					t.Errorf("there is no %q in\n%s", want, users)
				}
			}
			if there := strings.Contains(string(users), "user replica"); there != (c.user != "") || strings.Contains(string(users), "#@") {
				t.Errorf("the users are\n%s", users)
			}
			auth, err := os.ReadFile(filepath.Join(dir, "masterauth.conf"))
			ok(t, err)
			if string(auth) != c.auth {
				t.Errorf("the node says %q to its master, want %q", auth, c.auth)
			}
		})
	}
}
