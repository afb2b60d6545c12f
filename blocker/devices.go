package blocker

import (
	"bytes"
	"cmp"
	"slices"

	"grandstand"
)

// The states of a device on the list.
const (
	devicePlaying = "playing" // has a lease
	deviceWaiting = "waiting" // is blocked, and asks for a place
	deviceEnded   = "ended"   // is not to play until its viewer asks
)

// device is one entry of an account's list.
type device struct {
	Device string               `json:"device"` // Key.Text: no id leaves the edge
	Name   string               `json:"name"`
	Event  string               `json:"event"`
	Status string               `json:"status"`
	Code   grandstand.BlockCode `json:"code,omitempty"` // why it ended
	By     string               `json:"by,omitempty"`   // the name of the device that took its place

	Since       int64 `json:"since,omitempty"` // Unix ms; only of one that plays
	LastSeen    int64 `json:"last_seen"`       // Unix ms; when it last asked
	ExpiresInMS int64 `json:"expires_in_ms,omitempty"`
	WouldBlock  bool  `json:"would_block,omitempty"` // it plays beyond the limit, which is not enforced

	key grandstand.Key
}

// steady returns d without what changes when a session merely renews.
func (d device) steady() device {
	d.LastSeen, d.ExpiresInMS = 0, 0
	return d
}

// devicesOf returns the list of an account: who plays, by rank; who waits; and
// of the other devices the last session of theirs that somebody else ended. A
// session that its own device superseded says nothing of the device.
func devicesOf(s *grandstand.AccountState) []device {
	list := make([]device, 0, len(s.Leases)+len(s.Waiting))
	here := map[grandstand.Key]bool{}
	for i := range s.Leases {
		l := &s.Leases[i]
		here[l.Device] = true
		list = append(list, device{
			Device: l.Device.Text(), Name: l.Name, Event: l.Event, Status: devicePlaying,
			Since: l.Since, LastSeen: l.SeenAt, ExpiresInMS: l.Until - s.Now, WouldBlock: l.Shadow, key: l.Device,
		})
	}
	for i := range s.Waiting {
		w := &s.Waiting[i]
		here[w.Device] = true
		list = append(list, device{
			Device: w.Device.Text(), Name: w.Name, Event: w.Event, Status: deviceWaiting,
			LastSeen: w.At, ExpiresInMS: w.Until - s.Now, key: w.Device,
		})
	}
	for _, e := range slices.Backward(s.Ended) { // the newest of a device
		if here[e.Device] || e.Code == grandstand.BlockSuperseded {
			continue
		}
		here[e.Device] = true
		list = append(list, device{
			Device: e.Device.Text(), Name: e.Name, Status: deviceEnded, Code: e.Code, By: e.By, LastSeen: e.At, key: e.Device,
		})
	}
	// Those who do not play are known by when they last asked, which would
	// shuffle them.
	slices.SortStableFunc(list, func(a, b device) int {
		if c := cmp.Compare(order(a.Status), order(b.Status)); c != 0 || a.Status == devicePlaying {
			return c
		}
		return bytes.Compare(a.key[:], b.key[:])
	})
	return list
}

func order(status string) int {
	return slices.Index([]string{devicePlaying, deviceWaiting, deviceEnded}, status)
}

// playing returns the leases that count towards a limit, those of the event
// only if one is given.
func playing(s *grandstand.AccountState, event string) []grandstand.Lease {
	var counted []grandstand.Lease
	for _, l := range s.Leases {
		if !l.Shadow && (event == "" || l.Event == event) {
			counted = append(counted, l)
		}
	}
	return counted
}

// devices is what every reader of an account's list is shown alike.
type devices struct {
	Current int      `json:"current"` // streams that play and count; households are not taken off
	Devices []device `json:"devices"`
}

// listHead is what each caller is shown of its own.
type listHead struct {
	At    int64  `json:"at"` // Unix ms, when it was so
	Stale bool   `json:"stale,omitempty"`
	Limit int    `json:"limit"` // of the account; 0: none, or not known to this caller
	Rule  string `json:"rule"`
	This  string `json:"this,omitempty"` // the caller's own device, if its token names one
}

// deviceList is the answer to GET /v1/accounts/{account}/devices, and what a
// stream of them sends.
type deviceList struct {
	listHead
	devices
}

func (b *Blocker) headFor(q *request, at int64) listHead {
	terms := b.rules().Terms(q.caller.Limit, q.caller.Plan, "", nil)
	h := listHead{At: at, Limit: terms.Limit, Rule: terms.Rule}
	if q.caller.Device != "" {
		h.This = b.keys.Device(q.account, q.caller.Device).Text()
	}
	return h
}

// getDevices answers GET /v1/accounts/{account}/devices.
func (b *Blocker) getDevices(q *request) (reply, error) {
	state, err := b.account(q.Context(), q.account)
	if err != nil {
		return reply{}, err
	}
	return ok(deviceList{b.headFor(q, state.Now), devices{len(playing(state, "")), devicesOf(state)}}), nil
}

// The states of a device when it is asked for.
const (
	statusAllowed = "allowed"
	statusBlocked = "blocked"
	statusIdle    = "idle" // neither plays nor wants to
)

// deviceStatus is the answer to GET /v1/accounts/{account}/devices/{device}.
type deviceStatus struct {
	Status string `json:"status"`
	Device string `json:"device"` // Key.Text
	Name   string `json:"name"`
	Event  string `json:"event"`

	Session     string `json:"session,omitempty"` // that plays, waits or was ended; "" if the device is idle
	Since       int64  `json:"since,omitempty"`
	LastSeen    int64  `json:"last_seen,omitempty"`
	ExpiresInMS int64  `json:"expires_in_ms,omitempty"`
	WouldBlock  bool   `json:"would_block,omitempty"`
}

// countedStatus is that of a device which is not blocked.
type countedStatus struct {
	deviceStatus
	Rule    string `json:"rule"`
	Limit   int    `json:"limit"`
	Current int    `json:"current"`
}

// blockedStatus is that of a device which is.
type blockedStatus struct {
	deviceStatus
	grandstand.Refusal
}

// getDevice answers GET /v1/accounts/{account}/devices/{device}: what is known
// of the device, or with ?session= of that session of it. It changes nothing.
func (b *Blocker) getDevice(q *request) (reply, error) {
	session, err := q.query("session")
	if err != nil {
		return reply{}, err
	}
	if session != "" && !grandstand.ValidValue(session) {
		return reply{}, grandstand.Errorf(grandstand.CodeInvalid, "session is not the id of a session")
	}
	state, err := b.account(q.Context(), q.account)
	if err != nil {
		return reply{}, err
	}
	return ok(b.describe(q, state, b.deviceOf(q, state), session)), nil
}

// deviceOf returns the key of the device that the path names by its id or, as
// the list does, by its key.
func (b *Blocker) deviceOf(q *request, s *grandstand.AccountState) grandstand.Key {
	key, isKey := grandstand.ParseKey(q.device)
	known := func(l grandstand.Lease) bool { return l.Device == key }
	waits := func(w grandstand.Waiting) bool { return w.Device == key }
	ended := func(e grandstand.Ended) bool { return e.Device == key }
	if isKey && (slices.ContainsFunc(s.Leases, known) || slices.ContainsFunc(s.Waiting, waits) || slices.ContainsFunc(s.Ended, ended)) {
		return key
	}
	return b.keys.Device(q.account, q.device)
}

// describe returns the status of a device, or of one session of it.
func (b *Blocker) describe(q *request, s *grandstand.AccountState, key grandstand.Key, session string) any {
	is := func(device grandstand.Key, id string) bool { return device == key && (session == "" || id == session) }
	d := deviceStatus{Status: statusIdle, Device: key.Text()}
	for i := range s.Leases {
		if l := &s.Leases[i]; is(l.Device, l.Session) {
			d.Status, d.Name, d.Event, d.Session = statusAllowed, l.Name, l.Event, l.Session
			d.Since, d.LastSeen, d.ExpiresInMS, d.WouldBlock = l.Since, l.SeenAt, l.Until-s.Now, l.Shadow
			return b.counted(q, s, d)
		}
	}
	for i := range s.Waiting {
		if w := &s.Waiting[i]; is(w.Device, w.Session) {
			d.Status, d.Name, d.Event, d.Session = statusBlocked, w.Name, w.Event, w.Session
			d.LastSeen, d.ExpiresInMS = w.At, w.Until-s.Now
			return b.blocked(q, s, d, &grandstand.Verdict{Code: grandstand.BlockDeviceLimit})
		}
	}
	for _, e := range slices.Backward(s.Ended) {
		if is(e.Device, e.Session) && (session != "" || e.Code != grandstand.BlockSuperseded) {
			d.Status, d.Name, d.Session, d.LastSeen = statusBlocked, e.Name, e.Session, e.At
			return b.blocked(q, s, d, &grandstand.Verdict{Code: e.Code, By: e.By})
		}
	}
	return b.counted(q, s, d)
}

func (b *Blocker) counted(q *request, s *grandstand.AccountState, d deviceStatus) countedStatus {
	terms := b.terms(q.Context(), q.caller.Limit, q.caller.Plan, d.Event)
	return countedStatus{deviceStatus: d, Rule: terms.Rule, Limit: terms.Limit, Current: len(playing(s, ""))}
}

// blocked says of a device why it may not play, and who does. v has the code.
func (b *Blocker) blocked(q *request, s *grandstand.AccountState, d deviceStatus, v *grandstand.Verdict) blockedStatus {
	terms := b.terms(q.Context(), q.caller.Limit, q.caller.Plan, d.Event)
	v.Now, v.Rivals, v.Rule, v.Limit = s.Now, playing(s, ""), terms.Rule, terms.Limit
	full := terms.Limit > 0 && len(v.Rivals) >= terms.Limit
	if those := playing(s, d.Event); !full && terms.EventLimit > 0 && len(those) >= terms.EventLimit {
		v.Rivals, v.Rule, v.Limit = those, grandstand.EventRule(d.Event), terms.EventLimit
	}
	v.Current = len(v.Rivals)
	for i := range v.Rivals {
		if until := v.Rivals[i].Until; v.FreeAt == 0 || until < v.FreeAt {
			v.FreeAt = until
		}
	}
	refusal := v.Refusal(b.keys, q.account, retryAfter(v).Milliseconds())
	if v.Limit == 0 && v.Code == grandstand.BlockDeviceLimit {
		// The caller does not know the limit that the device was refused by.
		refusal.Message = "As many streams of this account are playing as it may have."
	}
	return blockedStatus{d, refusal}
}

// decision is one entry of the log.
type decision struct {
	At      int64                `json:"at"` // Unix ms
	Outcome string               `json:"outcome"`
	Code    grandstand.BlockCode `json:"code,omitempty"`
	Rule    string               `json:"rule,omitempty"`
	Limit   int                  `json:"limit"`
	Current int                  `json:"current"`
	Device  string               `json:"device"` // Key.Text
	Name    string               `json:"name"`
	Event   string               `json:"event"`
	Rivals  []string             `json:"rivals"` // names of devices
}

type decisions struct {
	Decisions []decision `json:"decisions"` // the newest first
}

const maxDecisions = 50

// getDecisions answers GET /v1/accounts/{account}/decisions.
func (b *Blocker) getDecisions(q *request) (reply, error) {
	limit, err := q.number("limit", 1, maxDecisions)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := b.deadline(q.Context())
	defer cancel()
	log, err := b.cfg.Accounts.Decisions(ctx, q.account, limit)
	if err != nil {
		return reply{}, grandstand.WrapError(grandstand.CodeUnavailable, err, "the account's decisions cannot be looked up just now")
	}
	list := make([]decision, len(log))
	for i, d := range log {
		list[i] = decision{
			At: d.At, Outcome: d.Outcome, Code: d.Code, Rule: d.Rule, Limit: d.Limit, Current: d.Current,
			Device: d.Device.Text(), Name: d.Name, Event: d.Event, Rivals: append([]string{}, d.Rivals...),
		}
	}
	return ok(decisions{list}), nil
}
