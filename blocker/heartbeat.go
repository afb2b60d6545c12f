package blocker

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"time"

	"grandstand"
)

// allowed is the body of 200: the session may play.
type allowed struct {
	Status  string `json:"status"` // "allowed"
	Session string `json:"session"`
	Current *int   `json:"current,omitempty"` // streams that play; nil: nobody was asked
	Limit   int    `json:"limit"`             // 0: none
	Rule    string `json:"rule"`

	ExpiresInMS         int64 `json:"expires_in_ms"` // the answer holds so long without another heartbeat
	HeartbeatIntervalMS int64 `json:"heartbeat_interval_ms"`

	Hold       string `json:"hold,omitempty"` // to be sent with the next heartbeat
	WouldBlock bool   `json:"would_block,omitempty"`
	Outage     bool   `json:"outage,omitempty"`
}

// refused is the body of 409, of 410, and of 503 during an outage: the session
// may not play.
type refused struct {
	grandstand.Refusal
	Session             string `json:"session"` // to ask again with
	HeartbeatIntervalMS int64  `json:"heartbeat_interval_ms"`
}

// left is the answer to a session that ended.
type left struct {
	Status  string `json:"status"` // "ended"
	Session string `json:"session"`
}

// heartbeat answers POST /v1/accounts/{account}/devices/{device}/heartbeat.
func (b *Blocker) heartbeat(q *request) (reply, error) {
	h, err := readHeartbeat(q.Request)
	if err == nil {
		err = q.permit(h)
	}
	if err != nil {
		return reply{}, err
	}
	// An answer is worth having even if its player does not wait for it.
	ctx := context.WithoutCancel(q.Context())
	if h.ended {
		return b.leave(ctx, q, h)
	}
	ask := b.askOf(ctx, q, h)
	if !ask.Terms.Limited() {
		b.metrics.decided(ask.Terms.Rule, outcomeUnlimited)
		return ok(allowedFor(&ask, h)), nil
	}
	v, err := b.ask(ctx, &ask, h.terminate)
	if err != nil {
		b.trouble("ask for a lease", err)
		return b.outage(&ask, h), nil
	}
	b.metrics.decided(v.Rule, string(v.Outcome))
	b.keep(q, &ask, v)
	if !v.Allowed {
		return b.refuse(&ask, h, v), nil
	}
	body := allowedFor(&ask, h)
	body.Current, body.Limit, body.Rule = &v.Current, v.Limit, v.Rule
	body.ExpiresInMS = max(v.Until-v.Now, 0)
	body.Hold = b.keys.SignHold(ask.Account, ask.Device, ask.Session, v.Hold)
	body.WouldBlock = v.Outcome == grandstand.OutcomeWouldBlock
	return ok(body), nil
}

// askOf returns what is asked for by a heartbeat, but for Terminate.
func (b *Blocker) askOf(ctx context.Context, q *request, h *heartbeat) grandstand.Ask {
	limit, plan := q.caller.Limit, q.caller.Plan
	if h.limit != 0 {
		limit = h.limit
	}
	if h.plan != "" {
		plan = h.plan
	}
	a := grandstand.Ask{
		Account: q.account,
		Device:  b.keys.Device(q.account, q.device),
		Session: h.session,
		Event:   h.event,
		Name:    q.deviceName(h),
		Member:  b.cfg.Member,
		LeaseMS: grandstand.LeaseMS(h.intervalMS), BeatMS: h.intervalMS,
		Terms:  b.terms(ctx, limit, plan, h.event),
		Insist: h.insist,
		// A session that waits is on the list of devices, and is not written
		// into the log of decisions whenever it asks.
		Wait: true,
	}
	address := h.address
	if !address.IsValid() && (!q.caller.Service || q.caller.Open) { // a backend's own says nothing of the player's
		address = b.cfg.ClientAddr(q.Request)
	}
	a.Address = b.keys.Address(q.account, address)
	if h.hold != "" {
		var own bool
		if a.Hold, own = b.keys.ParseHold(h.hold, a.Account, a.Device, a.Session); !own {
			b.metrics.forged.Inc()
			h.hold = ""
		}
	}
	if a.Session == "" {
		a.Session = newSession()
	}
	return a
}

// deviceName returns what the account's owner is shown the device as.
func (q *request) deviceName(h *heartbeat) string {
	for _, name := range []string{h.name, q.caller.Name} {
		if name = grandstand.CleanDeviceName(name); name != "" {
			return name
		}
	}
	if q.caller.Service && !q.caller.Open {
		return "" // the User-Agent is the backend's
	}
	return grandstand.DeviceName(q.UserAgent())
}

// newSession returns a session id of 22 URL-safe characters. Unlike a viewer's
// it proves nothing: the account's token does.
func newSession() string {
	var id [16]byte
	rand.Read(id[:]) // never fails (crypto/rand docs, Go 1.24)
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// ask asks for the lease. codes name those that the viewer wants to be ended.
func (b *Blocker) ask(ctx context.Context, a *grandstand.Ask, codes []string) (*grandstand.Verdict, error) {
	if len(codes) > 0 {
		state, err := b.account(ctx, a.Account)
		if err != nil {
			return nil, err
		}
		a.Terminate = b.keys.Named(a.Account, state.Leases, codes)
	}
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	answers := b.cfg.Leases.Ask(ctx, []grandstand.Ask{*a})
	if len(answers) != 1 {
		return nil, grandstand.Errorf(grandstand.CodeInternal, "%d answers to one ask", len(answers))
	}
	return &answers[0].Verdict, answers[0].Err
}

// allowedFor returns what holds for a heartbeat that nobody was asked about.
func allowedFor(a *grandstand.Ask, h *heartbeat) *allowed {
	return &allowed{
		Status: "allowed", Session: a.Session, Limit: a.Terms.Limit, Rule: a.Terms.Rule,
		ExpiresInMS: a.LeaseMS, HeartbeatIntervalMS: h.intervalMS,
	}
}

// refuse answers a session that may not play.
func (b *Blocker) refuse(a *grandstand.Ask, h *heartbeat, v *grandstand.Verdict) reply {
	retry := retryAfter(v)
	r := reply{status: http.StatusConflict, retry: retry, body: &refused{
		Refusal: v.Refusal(b.keys, a.Account, retry.Milliseconds()),
		Session: a.Session, HeartbeatIntervalMS: h.intervalMS,
	}}
	switch {
	case v.Code.Final():
		r.status, r.retry = http.StatusGone, 0
	case v.Code == grandstand.BlockUnavailable:
		r.status = http.StatusServiceUnavailable
	}
	return r
}

// The times after which a blocked session should ask again. It has to before
// it is forgotten as one that waits, which is after more than twice the shortest
// interval.
const (
	retrySoonest = time.Second
	retryLatest  = 5 * time.Second
	retryCrowd   = 15 * time.Second // too many devices
)

// retryAfter returns when it is worth to ask again: when a place becomes free
// by itself, or soon, since somebody may leave.
func retryAfter(v *grandstand.Verdict) time.Duration {
	switch {
	case v.Code == grandstand.BlockUnavailable:
		return jittered()
	case v.Code == grandstand.BlockTooManyDevices:
		return retryCrowd
	case v.FreeAt == 0:
		return retryLatest
	}
	free := time.Duration(min(v.FreeAt-v.Now, retryLatest.Milliseconds())) * time.Millisecond
	return max(free, retrySoonest)
}

// outage answers while leases cannot be asked for. Who has had one lately plays
// on, whatever the rules say of newcomers, and keeps what proves it.
func (b *Blocker) outage(a *grandstand.Ask, h *heartbeat) reply {
	held := a.Hold.Granted != 0 && b.cfg.Clock.Now()-a.Hold.Granted <= grandstand.HonourMS
	outcome := outcomeLet
	switch {
	case held:
		outcome = outcomeHeld
	case b.rules().OnOutage == grandstand.OutageDeny:
		b.metrics.decided(a.Terms.Rule, outcomeDenied)
		return b.refuse(a, h, &grandstand.Verdict{Code: grandstand.BlockUnavailable, Rule: a.Terms.Rule, Limit: a.Terms.Limit})
	}
	b.metrics.decided(a.Terms.Rule, outcome)
	body := allowedFor(a, h)
	body.Outage, body.Hold = true, h.hold
	return ok(body)
}

// leave frees the place of a session that ended.
func (b *Blocker) leave(ctx context.Context, q *request, h *heartbeat) (reply, error) {
	if h.session == "" {
		return reply{}, grandstand.Errorf(grandstand.CodeInvalid, "say in session which one ended")
	}
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	// Without a Member: the session may have sent its last heartbeat to another
	// blocker.
	l := grandstand.Leave{Account: q.account, Device: b.keys.Device(q.account, q.device), Session: h.session}
	if err := b.cfg.Leases.Leave(ctx, []grandstand.Leave{l}); err != nil {
		return reply{}, grandstand.WrapError(grandstand.CodeUnavailable, err, "the place cannot be freed just now; it is by itself, soon")
	}
	b.keep(q, &grandstand.Ask{Event: h.event, Session: h.session}, &grandstand.Verdict{Outcome: grandstand.OutcomeLeft})
	return ok(left{"ended", h.session}), nil
}

// signOut answers DELETE /v1/accounts/{account}/devices/{device}, which takes a
// device's id or its key from the list.
func (b *Blocker) signOut(q *request) (reply, error) {
	devices := []grandstand.Key{b.keys.Device(q.account, q.device)}
	if key, ok := grandstand.ParseKey(q.device); ok {
		devices = append(devices, key)
	}
	ctx := context.WithoutCancel(q.Context())
	for _, device := range devices {
		call, cancel := b.deadline(ctx)
		ended, err := b.cfg.Leases.SignOut(call, q.account, device)
		cancel()
		if err != nil {
			return reply{}, grandstand.WrapError(grandstand.CodeUnavailable, err, "the device cannot be signed out just now")
		}
		if ended > 0 {
			break
		}
	}
	return reply{status: http.StatusNoContent}, nil
}

// account reads what is kept of an account. Its errors have CodeUnavailable.
func (b *Blocker) account(ctx context.Context, account grandstand.Key) (*grandstand.AccountState, error) {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	state, err := b.cfg.Accounts.Account(ctx, account)
	if err != nil {
		return nil, grandstand.WrapError(grandstand.CodeUnavailable, err, "the account's devices cannot be looked up just now")
	}
	return state, nil
}
