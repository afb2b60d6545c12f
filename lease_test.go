package grandstand

import "testing"

// 10 s of beats: 25 s of lease, as long as a silent session is counted.
func TestALeaseOutlastsTwoBeats(t *testing.T) {
	for interval, want := range map[int64]int64{5_000: 15_000, 10_000: 25_000, 60_000: 125_000} {
		if got := LeaseMS(interval); got != want || got <= 2*interval {
			t.Errorf("a lease of a beat each %d ms lasts %d ms, want %d", interval, got, want)
		}
	}
}

func TestCodesThatOnlyTheViewerEnds(t *testing.T) {
	for code, want := range map[BlockCode]bool{
		BlockDeviceLimit: false, BlockTooManyDevices: false, BlockUnavailable: false, "": false,
		BlockTakenOver: true, BlockSuperseded: true, BlockSignedOut: true,
	} {
		if got := code.Final(); got != want {
			t.Errorf("%q final: %t", code, got)
		}
	}
}

func TestLeaseOfASession(t *testing.T) {
	tv, phone := Key{1}, Key{2}
	state := &AccountState{Leases: []Lease{
		{LeaseRef: LeaseRef{Device: tv, Session: "a", Born: 7}, Since: 5, SeenAt: 9},
		{LeaseRef: LeaseRef{Device: phone, Session: "b"}},
	}}
	l := state.Lease(tv, "a")
	if l != &state.Leases[0] {
		t.Fatalf("the lease of the television is %+v", l)
	}
	if h := l.Hold(); h != (Hold{Since: 5, Born: 7, Granted: 9}) {
		t.Errorf("its holder remembers %+v", h)
	}
	for _, other := range []*Lease{state.Lease(tv, "b"), state.Lease(phone, "a"), state.Lease(Key{}, ""), new(AccountState).Lease(tv, "a")} {
		if other != nil {
			t.Errorf("found %+v", other)
		}
	}
}
