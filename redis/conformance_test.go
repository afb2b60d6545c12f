package redis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"grandstand"
	"grandstand/redis/redistest"
)

// TestMain fails on a goroutine that outlives the tests. The library's client
// for clusters closes its connections, and drops refreshes it had planned, in
// the background within a few seconds.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		err := goleak.Find()
		for deadline := time.Now().Add(8 * time.Second); err != nil && time.Now().Before(deadline); {
			err = goleak.Find()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// rig is a Redis of one of the three forms.
type rig struct {
	url   string
	flush func()
	quick bool // a real server of its own: the longest tests are for it
}

func embeddedRig(t *testing.T) *rig {
	e, err := StartEmbedded(EmbeddedConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return &rig{url: e.Address(), flush: e.m.FlushAll}
}

func serverRig(t *testing.T) *rig {
	s := redistest.StartServer(t)
	return &rig{url: asUser(t, s.URL(), s), flush: s.FlushAll, quick: true}
}

func clusterRig(t *testing.T) *rig {
	c := redistest.StartCluster(t)
	return &rig{url: asUser(t, c.URL(), c.Nodes...), flush: c.FlushAll}
}

// conformance is what every form of Redis must do alike.
var conformance = []struct {
	name string
	run  func(*testing.T, *rig)
}{
	{"ClaimTellsTheOwnerBefore", testClaim},
	{"ClaimAskedAgainIsAnsweredAgain", testClaimAgain},
	{"ClaimForgetsTheOwnerBeforeInTime", testClaimWindow},
	{"ClaimsAtOnceMakeOneChain", testClaimRace},
	{"AClaimTellsSinceWhen", testClaimedAt},
	{"AClaimIsOvertaken", testClaimOvertaken},
	{"ManyClaimsInOnePipeline", testClaimMany},
	{"ClaimWithoutARecordPrevails", testClaimUnknown},
	{"KeepReportsWhatIsLost", testKeep},
	{"KeepManyInPortions", testKeepMany},
	{"KeepAndClaimLetRecordsExpire", testRecordTTL},
	{"ForgetOnlyWhatIsOnesOwn", testForget},
	{"ReleasesAreReadInOrder", testReleases},
	{"TalliesComeBack", testTallies},
	{"AdmitFirstComeUpToTheLimits", testAdmit},
	{"AdmitAgreesUnderConcurrency", testAdmitRace},
	{"MembersKnowEachOther", testMembers},
	{"OperatorsSeeEveryStatus", testCluster},
	{"BootChangesWhenTheDataIsLost", testBoot},
	{"AFailoverThatLosesWritesIsNoticed", testFailover},
	{"ShardsAreSharedFairly", testHoldShards},
	{"ShardsOfWhoHearsNothingAreTaken", testHoldUnheard},
	{"ShardsOfAHolderThatStoppedAreTaken", testTakeover},
	{"PublishComparesFirst", testPublish},
	{"PublishReplacesAPoisonedBoard", testPoisoned},
	{"PublishersAtOnceKeepTheOrder", testPublishRace},
	{"FollowShowsWhatIsThereAndWhatComes", testFollow},
	{"FollowSurvivesLostData", testFollowFlush},
	{"EventsAreOrderedByUpdate", testEvents},
	{"RevocationsAreKept", testRevocations},
	{"RevocationsOfAnotherClockAreKept", testRevocationsOfAnotherClock},
	{"HistoryComesBackInOrder", testHistory},
	{"ReachComesBack", testReach},
	{"ClockFollowsRedis", testClock},
	{"ScriptsAreGivenToAServerThatLostThem", testNoScript},
	{"KeysHaveASlotAndAnEnd", testKeys},
	{"ValuesThatCannotBeReadAreMissing", testCorrupt},
	{"LeasesEndByThemselves", testRuleOver},
	{"LeasesEndedByOthersStayEnded", testRuleEnded},
	{"LeasesAreRenewedByRank", testRuleRenewal},
	{"LeasesMoveToTheNewestSessionOfADevice", testRuleSameDevice},
	{"LeasesComeBackAfterALoss", testRuleRestore},
	{"LeasesOfOldHoldsHaveNoRank", testRuleOldHold},
	{"LeasesThatRedisForgotComeBack", testRuleForgotten},
	{"LeasesThatCameBackAreRemembered", testForgottenReturn},
	{"LeasesAreRefusedWithoutALoss", testRefusedHolder},
	{"LeasesNeedRoom", testRuleRoom},
	{"LeasesAreTakenOver", testRuleTakeover},
	{"LeasesEvictTheOldest", testRuleEvict},
	{"LeasesInShadow", testRuleShadow},
	{"LeasesMakeOthersWait", testRuleWait},
	{"LeasesAreOfSoManyDevices", testRuleDevices},
	{"LeasesAreLeft", testRuleLeave},
	{"LeasesOfADeviceAreSignedOut", testRuleSignOut},
	{"LeasesAreLogged", testRuleLog},
	{"LeasesAreAnsweredAgain", testRuleReplay},
	{"LeasesFollowTheModel", testLeaseModel},
	{"LeasesThatCannotBeReadAreReplaced", testLeasesCorrupt},
	{"LeasesOfAWrongClockEnd", testLeasesAhead},
	{"LeasesStayFew", testLeasesBounded},
	{"LeasesOfManySessionsOfADevice", testLeasesOfOneDevice},
	{"LeasesHaveOddNames", testLeasesOdd},
	{"LeasesAreLinearizable", testLeasesRace},
	{"NoticesAreTold", testNotices},
	{"NoticesThatWereLostAreKnown", testNoticesLost},
	{"NoticesThatWereTrimmedAreKnown", testNoticesTrimmed},
	{"NoticesReachWhoMustKnow", testWhoIsTold},
}

func TestEmbedded(t *testing.T) { conform(t, embeddedRig(t)) }
func TestServer(t *testing.T)   { conform(t, serverRig(t)) }
func TestCluster(t *testing.T)  { conform(t, clusterRig(t)) }

// conform runs beside the other two: each has a server of its own, and much of it
// waits for leases to end.
func conform(t *testing.T, r *rig) {
	t.Parallel()
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) {
			r.flush()
			c.run(t, r)
		})
	}
}

// open returns a client that is closed when the test ends.
func open(t testing.TB, url string) *Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// Not the default of 1 s: the race detector on a busy machine is not what
	// these tests are about.
	c, err := Open(ctx, Config{Address: url, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	t.Cleanup(c.Close)
	return c
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until cond holds.
func eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func testClock(t *testing.T, r *rig) {
	c := open(t, r.url)
	ctx := t.Context()
	m, err := c.Renew(ctx, grandstand.Member{ID: "m", Role: grandstand.RoleGateway})
	ok(t, err)
	if d := c.Now() - m.Now; d < -50 || d > 2000 {
		t.Errorf("Now is %d ms after the time of Redis just before", d)
	}
}

func testCorrupt(t *testing.T, r *rig) {
	c := open(t, r.url)
	ctx := t.Context()
	set := func(key string) {
		t.Helper()
		ok(t, c.rc.Do(ctx, c.rc.B().Set().Key(key).Value("\xff nonsense").Build()).Error())
	}
	set(manifestKey("g"))
	if list, err := c.Manifests(ctx, []string{"g"}); err != nil || list[0] != nil {
		t.Errorf("Manifests = %v, %v; want a nil for what cannot be read", list, err)
	}
	set(tallyKey("g", 1))
	if list, err := c.ShardTallies(ctx, []grandstand.TallyRef{{Gateway: "g", Shard: 1}}); err != nil || list[0] != nil {
		t.Errorf("ShardTallies = %v, %v; want a nil", list, err)
	}
	set(recordKey("s"))
	if claimed, err := claimOne(ctx, c, grandstand.Record{Session: "s", Owner: "b"}); err != nil || claimed.Previous != nil {
		t.Errorf("Claim over a broken record = %+v, %v; want no owner before", claimed, err)
	}
	set(recordKey("s2"))
	if lost, err := c.Keep(ctx, []grandstand.Record{{Session: "s2", Owner: "b", Gen: 1}}); err != nil || len(lost) > 0 {
		t.Errorf("Keep over a broken record = %v, %v; want it kept", lost, err)
	}
	ok(t, c.rc.Do(ctx, c.rc.B().Xadd().Key(boardKey(3)).Id("*").FieldValue().FieldValue("x", "y").Build()).Error())
	if sb, err := c.LastBoard(ctx, 3); err != nil || sb != nil {
		t.Errorf("LastBoard = %v, %v; want nil", sb, err)
	}
	// A key of another type is trouble, not a missing value.
	ok(t, c.rc.Do(ctx, c.rc.B().Rpush().Key(manifestKey("h")).Element("x").Build()).Error())
	if _, err := c.Manifests(ctx, []string{"h"}); grandstand.CodeOf(err) != grandstand.CodeUnavailable {
		t.Errorf("Manifests of a list: %v, want CodeUnavailable", err)
	}
}

func TestOpenRefusesBadAddresses(t *testing.T) {
	for _, addr := range []string{
		"", "localhost", "http://localhost", "redis://", "redis://a,,b", "redis://a/3", "redis://%zz:x@a", "redis://:6379",
	} {
		if _, err := Open(t.Context(), Config{Address: addr}); grandstand.CodeOf(err) != grandstand.CodeInvalid {
			t.Errorf("Open(%q): %v, want CodeInvalid", addr, err)
		}
	}
	if _, err := Open(t.Context(), Config{Address: "redis://a", Timeout: -1}); grandstand.CodeOf(err) != grandstand.CodeInvalid {
		t.Errorf("Open with a negative timeout: %v, want CodeInvalid", err)
	}
}

func TestParseAddress(t *testing.T) {
	opt, err := parseAddress("rediss://us%40er:p%3Aw@h1,[::1]:7000,h3:1/0")
	ok(t, err)
	if got := strings.Join(opt.InitAddress, " "); got != "h1:6379 [::1]:7000 h3:1" {
		t.Errorf("hosts %s", got)
	}
	if opt.Username != "us@er" || opt.Password != "p:w" || opt.TLSConfig == nil {
		t.Errorf("user %q, password %q, TLS %v", opt.Username, opt.Password, opt.TLSConfig != nil)
	}
	_, err = parseAddress("redis://user:secret@")
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v; want one without the password", err)
	}
}

func TestOpenWithoutRedisFails(t *testing.T) {
	s := redistest.StartServer(t)
	s.Kill()
	_, err := Open(t.Context(), Config{Address: s.URL()})
	if grandstand.CodeOf(err) != grandstand.CodeUnavailable {
		t.Fatalf("Open without a server: %v, want CodeUnavailable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Config{Address: s.URL()}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Open with a context that ended: %v", err)
	}
}
