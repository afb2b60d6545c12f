package redis

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

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

// aclRules returns what the user grandstand may do.
func aclRules(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(aclFile)
	ok(t, err)
	for line := range strings.Lines(string(text)) {
		if rest, is := strings.CutPrefix(line, "user grandstand on #@REDIS_PASSWORD@ "); is {
			return strings.Fields(rest)
		}
	}
	t.Fatalf("%s has no user grandstand", aclFile)
	return nil
}

// asUser gives the servers the user grandstand, who may do no more than in a
// deployment and what the tests need besides, and returns the URL of that user.
func asUser(t *testing.T, url string, servers ...*redistest.Server) string {
	t.Helper()
	rules := slices.Concat([]string{"ACL", "SETUSER", "grandstand", "on", ">secret"}, aclRules(t), lookedWith)
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
	for _, rule := range aclRules(t) {
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
