package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"grandstand"
)

// fakeAccounts keeps leases as the blocker and the gateway together do, in the
// messages and sentences of the root package. fakeGateway.mu guards it.
type fakeAccounts struct {
	f        *fakeGateway
	keys     grandstand.AccountsKey
	of       map[grandstand.Key]*fakeAccount
	sessions map[string]*fakeSession
	now      int64 // ms, later at each question, so that since and born are different

	status    int  // of every answer of the account routes; 0: as it should be
	noStream  bool // streams are refused
	mute      bool // takeovers are not answered
	streams   int  // open now
	streamed  int  // ever opened
	listed    int  // lists answered by GET
	takeovers [][]any
	beats     []map[string]any // bodies of heartbeats
}

type fakeAccount struct {
	limit   int
	leases  []grandstand.Lease // by since
	waiting []grandstand.Waiting
	ended   []grandstand.Ended
	changed chan struct{} // closed at the next change
}

// fakeSession is a session that may play or not.
type fakeSession struct {
	id, event, name string
	account, device grandstand.Key
	limit           int
	refusal         *grandstand.Refusal
}

func newFakeAccounts(f *fakeGateway) *fakeAccounts {
	return &fakeAccounts{
		f: f, keys: grandstand.NewAccountsKey([]byte("secret")), of: map[grandstand.Key]*fakeAccount{},
		sessions: map[string]*fakeSession{}, now: time.Now().UnixMilli(),
	}
}

func (fa *fakeAccounts) accountLocked(key grandstand.Key) *fakeAccount {
	a := fa.of[key]
	if a == nil {
		a = &fakeAccount{changed: make(chan struct{})}
		fa.of[key] = a
	}
	return a
}

func (fa *fakeAccounts) blockedLocked(session string) bool {
	s := fa.sessions[session]
	return s != nil && s.refusal != nil
}

// openLocked begins or resumes the session of a socket, after its hello.
func (fa *fakeAccounts) openLocked(sock *fakeSocket, event string, q url.Values) {
	limit, _ := strconv.Atoi(q.Get("limit"))
	if q.Get("account") == "" || limit == 0 {
		return
	}
	s := fa.sessions[sock.session]
	if s == nil {
		account := fa.keys.Account(q.Get("account"))
		s = &fakeSession{id: sock.session, event: event, account: account, device: fa.keys.Device(account, q.Get("device"))}
		fa.sessions[s.id] = s
	}
	s.name, s.limit = grandstand.CleanDeviceName(q.Get("name")), limit
	fa.accountLocked(s.account).limit = limit
	if s.refusal != nil {
		sock.sent <- grandstand.AppendBlocked(nil, s.refusal)
	}
	fa.settleLocked(s.account, s)
}

// closedLocked frees the place of a session whose last socket said goodbye.
func (fa *fakeAccounts) closedLocked(sock *fakeSocket) {
	s := fa.sessions[sock.session]
	if s == nil || !sock.goodbye {
		return
	}
	for other := range fa.f.sockets {
		if other.session == s.id {
			return
		}
	}
	a := fa.accountLocked(s.account)
	a.forget(s)
	if s.refusal != nil && !s.refusal.Code.Final() {
		delete(fa.sessions, s.id)
	}
	fa.settleLocked(s.account, nil)
}

func (a *fakeAccount) forget(s *fakeSession) {
	a.leases = slices.DeleteFunc(a.leases, func(l grandstand.Lease) bool { return l.Session == s.id })
	a.waiting = slices.DeleteFunc(a.waiting, func(w grandstand.Waiting) bool { return w.Session == s.id })
}

// end takes a lease away for good.
func (a *fakeAccount) end(l grandstand.Lease, code grandstand.BlockCode, by string, now int64) {
	a.leases = slices.DeleteFunc(a.leases, func(o grandstand.Lease) bool { return o.LeaseRef == l.LeaseRef })
	a.ended = append(a.ended, grandstand.Ended{Session: l.Session, Device: l.Device, Code: code, By: by, At: now})
}

// askLocked decides about a session: nil if it may play.
func (fa *fakeAccounts) askLocked(s *fakeSession, insist bool, codes []string) *grandstand.Refusal {
	fa.now = max(fa.now+1, time.Now().UnixMilli())
	a := fa.accountLocked(s.account)
	v := grandstand.Verdict{Code: grandstand.BlockDeviceLimit, Rule: "token", Limit: a.limit}
	if i := slices.IndexFunc(a.ended, func(e grandstand.Ended) bool { return e.Session == s.id }); i >= 0 {
		if !insist {
			v.Code, v.By = a.ended[i].Code, a.ended[i].By
			return fa.refusalLocked(s, a, &v)
		}
		a.ended = slices.Delete(a.ended, i, i+1)
	}
	if i := slices.IndexFunc(a.leases, func(l grandstand.Lease) bool { return l.Session == s.id }); i >= 0 {
		a.leases[i].SeenAt = fa.now
		if i < a.limit {
			return nil
		}
		a.leases = slices.Delete(a.leases, i, i+1)
	}
	since := fa.now
	for _, l := range a.leases {
		if l.Device == s.device {
			since = l.Since
			a.end(l, grandstand.BlockSuperseded, s.name, fa.now)
			break
		}
	}
	a.forget(s)
	for _, l := range fa.keys.Named(s.account, a.leases, codes) {
		if len(a.leases) < a.limit {
			break
		}
		a.end(grandstand.Lease{LeaseRef: l}, grandstand.BlockTakenOver, s.name, fa.now)
	}
	if len(a.leases) >= a.limit {
		a.waiting = append(a.waiting, grandstand.Waiting{Device: s.device, Session: s.id, Name: s.name, Event: s.event, At: fa.now, Until: fa.now + 25_000})
		return fa.refusalLocked(s, a, &v)
	}
	a.leases = append(a.leases, grandstand.Lease{
		LeaseRef: grandstand.LeaseRef{Device: s.device, Session: s.id, Born: fa.now},
		Name:     s.name, Event: s.event, Since: since, SeenAt: fa.now, Until: fa.now + 25_000,
	})
	slices.SortFunc(a.leases, func(x, y grandstand.Lease) int { return int(x.Since - y.Since) })
	return nil
}

func (fa *fakeAccounts) refusalLocked(s *fakeSession, a *fakeAccount, v *grandstand.Verdict) *grandstand.Refusal {
	v.Now, v.Rivals, v.Current = fa.now, slices.Clone(a.leases), len(a.leases)
	r := v.Refusal(fa.keys, s.account, 5000)
	return &r
}

// settleLocked asks for first, and then for every session of the account, and
// tells those for whom something changed.
func (fa *fakeAccounts) settleLocked(account grandstand.Key, first *fakeSession) {
	a := fa.accountLocked(account)
	if first != nil {
		fa.toldLocked(first, fa.askLocked(first, false, nil))
	}
	for _, id := range fa.idsLocked(account) {
		if s := fa.sessions[id]; s != first && fa.connectedLocked(id) {
			fa.toldLocked(s, fa.askLocked(s, false, nil))
		}
	}
	close(a.changed)
	a.changed = make(chan struct{})
}

// idsLocked returns the account's sessions: those that play by rank, then the
// others as they came.
func (fa *fakeAccounts) idsLocked(account grandstand.Key) []string {
	var ids []string
	for _, l := range fa.of[account].leases {
		ids = append(ids, l.Session)
	}
	for _, w := range fa.of[account].waiting {
		ids = append(ids, w.Session)
	}
	for id, s := range fa.sessions {
		if s.account == account && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return slices.DeleteFunc(ids, func(id string) bool { return fa.sessions[id] == nil })
}

func (fa *fakeAccounts) connectedLocked(session string) bool {
	if strings.HasPrefix(session, "of-") {
		return true // of play or wait
	}
	for s := range fa.f.sockets {
		if s.session == session {
			return true
		}
	}
	return false
}

// toldLocked tells a session what was decided, if it is new.
func (fa *fakeAccounts) toldLocked(s *fakeSession, r *grandstand.Refusal) {
	before := s.refusal
	s.refusal = r
	switch {
	case r == nil && before != nil:
		fa.sayLocked(s.id, grandstand.AppendUnblocked(nil))
	case r != nil && (before == nil || before.Message != r.Message || before.Code != r.Code):
		fa.sayLocked(s.id, grandstand.AppendBlocked(nil, r))
	}
}

func (fa *fakeAccounts) sayLocked(session string, message []byte) {
	for s := range fa.f.sockets {
		if s.session == session {
			s.sent <- message
		}
	}
}

func (fa *fakeAccounts) takeoverLocked(sock *fakeSocket, codes []any) {
	fa.takeovers = append(fa.takeovers, codes)
	s := fa.sessions[sock.session]
	if s == nil || fa.mute {
		return
	}
	if fa.status != 0 {
		sock.sent <- []byte(`{"t":"error","code":"unavailable","message":"we cannot check right now"}`)
		return
	}
	r := fa.askLocked(s, true, texts(codes))
	if s.refusal = r; r != nil {
		fa.sayLocked(s.id, grandstand.AppendBlocked(nil, r))
	} else {
		fa.sayLocked(s.id, grandstand.AppendUnblocked(nil))
		sock.sent <- grandstand.AppendOK(nil, "takeover")
	}
	fa.settleLocked(s.account, nil)
}

func texts(list []any) []string {
	var out []string
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

func (fa *fakeAccounts) routes(m *http.ServeMux) {
	const at = "/v1/accounts/{account}/devices"
	m.HandleFunc("GET "+at, fa.answer(func(r *http.Request, account grandstand.Key) (int, any) {
		fa.listed++
		return 200, fa.listLocked(r, account)
	}))
	device := fa.answer(func(r *http.Request, account grandstand.Key) (int, any) {
		return 200, fa.statusLocked(account, fa.deviceOf(r, account))
	})
	m.HandleFunc("GET "+at+"/{device}", device)
	m.HandleFunc("DELETE "+at+"/{device}", fa.answer(fa.signOutLocked))
	m.HandleFunc("POST "+at+"/{device}/heartbeat", fa.answer(fa.heartbeatLocked))
	m.HandleFunc("GET "+at+"/stream", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.EscapedPath(), "/stream") {
			fa.stream(w, r)
			return
		}
		r.SetPathValue("device", "stream") // said as %73tream
		device(w, r)
	})
}

// answer serves a route with f, which is called with the lock held.
func (fa *fakeAccounts) answer(f func(r *http.Request, account grandstand.Key) (int, any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fa.f.mu.Lock()
		defer fa.f.mu.Unlock()
		status, body := fa.status, any(map[string]string{"code": "unavailable", "message": "the account's devices cannot be looked up just now"})
		if status == 0 {
			status, body = f(r, fa.keys.Account(r.PathValue("account")))
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			json.NewEncoder(w).Encode(body)
		}
	}
}

func (fa *fakeAccounts) deviceOf(r *http.Request, account grandstand.Key) grandstand.Key {
	id := r.PathValue("device")
	if key, ok := grandstand.ParseKey(id); ok {
		return key
	}
	return fa.keys.Device(account, id)
}

func (fa *fakeAccounts) listLocked(r *http.Request, account grandstand.Key) map[string]any {
	a := fa.accountLocked(account)
	list := []map[string]any{}
	for _, l := range a.leases {
		list = append(list, map[string]any{"device": l.Device.Text(), "name": l.Name, "event": l.Event, "status": "playing", "since": l.Since, "last_seen": l.SeenAt, "expires_in_ms": 20_000})
	}
	for _, w := range a.waiting {
		list = append(list, map[string]any{"device": w.Device.Text(), "name": w.Name, "event": w.Event, "status": "waiting", "last_seen": w.At, "expires_in_ms": 20_000})
	}
	for _, e := range a.ended {
		list = append(list, map[string]any{"device": e.Device.Text(), "name": "", "event": "", "status": "ended", "code": e.Code, "by": e.By, "last_seen": e.At})
	}
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	m := map[string]any{"at": fa.now, "limit": limit, "rule": "token", "current": len(a.leases), "devices": list}
	if d := r.URL.Query().Get("device"); d != "" {
		m["this"] = fa.keys.Device(account, d).Text()
	}
	return m
}

func (fa *fakeAccounts) statusLocked(account, device grandstand.Key) any {
	a := fa.accountLocked(account)
	d := map[string]any{"status": "idle", "device": device.Text(), "name": "", "event": "", "rule": "token", "limit": a.limit, "current": len(a.leases)}
	for _, l := range a.leases {
		if l.Device == device {
			d["status"], d["name"], d["event"], d["since"], d["last_seen"] = "allowed", l.Name, l.Event, l.Since, l.SeenAt
			return d
		}
	}
	v := grandstand.Verdict{Code: grandstand.BlockDeviceLimit, Rule: "token", Limit: a.limit}
	for _, w := range a.waiting {
		if w.Device == device {
			d["status"], d["name"], d["event"] = "blocked", w.Name, w.Event
		}
	}
	for _, e := range a.ended {
		if e.Device == device && d["status"] == "idle" {
			d["status"], v.Code, v.By = "blocked", e.Code, e.By
		}
	}
	if d["status"] == "blocked" {
		b, _ := json.Marshal(fa.refusalLocked(&fakeSession{account: account}, a, &v))
		json.Unmarshal(b, &d)
	}
	return d
}

func (fa *fakeAccounts) signOutLocked(r *http.Request, account grandstand.Key) (int, any) {
	fa.endDeviceLocked(account, fa.deviceOf(r, account))
	return http.StatusNoContent, nil
}

func (fa *fakeAccounts) endDeviceLocked(account, device grandstand.Key) {
	a := fa.accountLocked(account)
	for _, l := range slices.Clone(a.leases) {
		if l.Device == device {
			a.end(l, grandstand.BlockSignedOut, "", fa.now)
		}
	}
	for _, w := range slices.Clone(a.waiting) {
		if w.Device == device {
			a.waiting = slices.DeleteFunc(a.waiting, func(o grandstand.Waiting) bool { return o.Session == w.Session })
			a.ended = append(a.ended, grandstand.Ended{Session: w.Session, Device: device, Code: grandstand.BlockSignedOut, At: fa.now})
		}
	}
	fa.settleLocked(account, nil)
}

func (fa *fakeAccounts) heartbeatLocked(r *http.Request, account grandstand.Key) (int, any) {
	var body map[string]any
	json.NewDecoder(r.Body).Decode(&body)
	fa.beats = append(fa.beats, body)
	id, _ := body["session"].(string)
	s := fa.sessions[id]
	if s == nil {
		id = "rest-" + r.PathValue("device")
		s = &fakeSession{id: id, account: account, device: fa.deviceOf(r, account)}
		fa.sessions[id] = s
	}
	if name, ok := body["name"].(string); ok {
		s.name = name
	}
	if limit, ok := body["limit"].(float64); ok {
		fa.accountLocked(account).limit = int(limit)
	}
	codes, insist := body["terminate"].([]any)
	refusal := fa.askLocked(s, insist, texts(codes))
	fa.toldLocked(s, refusal)
	fa.settleLocked(account, nil)
	switch {
	case refusal == nil:
		return 200, map[string]any{"status": "allowed", "session": id, "expires_in_ms": 25_000, "heartbeat_interval_ms": 10_000}
	case refusal.Code.Final():
		return 410, refusal
	}
	return 409, refusal
}

func (fa *fakeAccounts) stream(w http.ResponseWriter, r *http.Request) {
	account := fa.keys.Account(r.PathValue("account"))
	refuse := false
	fa.f.locked(func() {
		if refuse = fa.status != 0 || fa.noStream; !refuse {
			fa.streams++
			fa.streamed++
		}
	})
	if refuse {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer fa.f.locked(func() { fa.streams-- })
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, "retry: 3000\n\n")
	for {
		var list []byte
		var changed chan struct{}
		over := false
		fa.f.locked(func() {
			list, _ = json.Marshal(fa.listLocked(r, account))
			changed, over = fa.accountLocked(account).changed, fa.status != 0
		})
		if over {
			return
		}
		fmt.Fprintf(w, "id: 1\ndata: %s\n\n", list)
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// play puts a device of an account that is not a page into a place.
func (fa *fakeAccounts) play(account, device, name string, limit int) {
	fa.f.mu.Lock()
	defer fa.f.mu.Unlock()
	key := fa.keys.Account(account)
	s := &fakeSession{id: "of-" + device, event: "demo", name: name, account: key, device: fa.keys.Device(key, device)}
	fa.sessions[s.id] = s
	fa.accountLocked(key).limit = limit
	if r := fa.askLocked(s, true, nil); r != nil {
		panic(r.Message)
	}
	fa.settleLocked(key, nil)
}

// wait has such a device ask for a place that there is not.
func (fa *fakeAccounts) wait(account, device, name string) {
	fa.f.mu.Lock()
	defer fa.f.mu.Unlock()
	key := fa.keys.Account(account)
	s := &fakeSession{id: "of-" + device, event: "demo", name: name, account: key, device: fa.keys.Device(key, device)}
	fa.sessions[s.id] = s
	s.refusal = fa.askLocked(s, false, nil)
	fa.settleLocked(key, nil)
}

// signOut ends the sessions of a device.
func (fa *fakeAccounts) signOut(account, device string) {
	fa.f.mu.Lock()
	defer fa.f.mu.Unlock()
	key := fa.keys.Account(account)
	fa.endDeviceLocked(key, fa.keys.Device(key, device))
}

// leave frees the place of such a device.
func (fa *fakeAccounts) leave(account, device string) {
	fa.f.mu.Lock()
	defer fa.f.mu.Unlock()
	key := fa.keys.Account(account)
	fa.accountLocked(key).forget(fa.sessions["of-"+device])
	delete(fa.sessions, "of-"+device)
	fa.settleLocked(key, nil)
}

// fail has every account route answer with a status, and ends the streams; 0:
// no more.
func (fa *fakeAccounts) fail(status int) {
	fa.f.mu.Lock()
	defer fa.f.mu.Unlock()
	fa.status = status
	for _, a := range fa.of {
		close(a.changed)
		a.changed = make(chan struct{})
	}
}
