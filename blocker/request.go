package blocker

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"grandstand"
)

// request is a request for an account by somebody who may act for it.
type request struct {
	*http.Request
	caller  Caller
	account grandstand.Key
	id      string // of the account
	device  string // as the path says it; "" on routes without one
}

// reply is what a request is answered with.
type reply struct {
	status int
	body   any           // JSON; nil: none
	retry  time.Duration // for Retry-After; 0: none
}

func ok(body any) reply { return reply{status: http.StatusOK, body: body} }

// answer serves a route that is answered at once.
func (b *Blocker) answer(route string, f func(q *request) (reply, error)) http.HandlerFunc {
	seconds := b.metrics.seconds.WithLabelValues(route)
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		q, err := b.admit(r)
		var a reply
		if err == nil {
			a, err = f(q)
		}
		if err != nil {
			a = b.failed(route, err)
		}
		seconds.Observe(time.Since(began).Seconds())
		b.write(w, route, a)
	}
}

// admit checks who asks for what, and how often.
func (b *Blocker) admit(r *http.Request) (*request, error) {
	caller, err := b.cfg.Auth.Caller(r)
	if err != nil {
		return nil, err
	}
	account, err := pathID(r, "account")
	if err != nil {
		return nil, err
	}
	if !caller.anyone() && caller.Account != account {
		return nil, grandstand.Errorf(grandstand.CodeForbidden, "the token is not for this account")
	}
	q := &request{Request: r, caller: caller, account: b.keys.Account(account), id: account}
	if _, there := mux.Vars(r)["device"]; there {
		if q.device, err = pathID(r, "device"); err != nil {
			return nil, err
		}
	}
	if !b.rates.take(q.account, time.Now()) {
		return nil, grandstand.Errorf(grandstand.CodeRateLimited, "too many requests for one account")
	}
	return q, nil
}

// permit refuses what the caller may not say in a heartbeat.
func (q *request) permit(h *heartbeat) error {
	c := &q.caller
	if !c.anyone() {
		if c.Device != "" && c.Device != q.device {
			return grandstand.Errorf(grandstand.CodeForbidden, "the token is not for this device")
		}
		if h.served {
			return grandstand.Errorf(grandstand.CodeForbidden, "only a service says limit, plan or address: leave them out")
		}
	}
	if c.Events == nil || h.ended {
		return nil
	}
	if h.event == "" && len(c.Events) == 1 {
		h.event = c.Events[0]
	}
	if h.event == "" {
		return grandstand.Errorf(grandstand.CodeInvalid, "the token is for certain events: say which one in event")
	}
	if !slices.Contains(c.Events, h.event) {
		return grandstand.Errorf(grandstand.CodeForbidden, "the token is not for this event")
	}
	return nil
}

const maxIDLen = 256 // bytes of an account's or a device's id

func validID(v string) bool {
	return len(v) > 0 && len(v) <= maxIDLen && utf8.ValidString(v) && !strings.ContainsFunc(v, unicode.IsControl)
}

// pathID returns an id that is part of the path, where it is percent-encoded.
func pathID(r *http.Request, name string) (string, error) {
	id, err := url.PathUnescape(mux.Vars(r)[name])
	if err != nil || !validID(id) {
		return "", grandstand.Errorf(grandstand.CodeInvalid, "the id of the %s is not 1 to %d bytes of text without control characters", name, maxIDLen)
	}
	return id, nil
}

// query returns a parameter of the query, "" if it is not there. One that
// stands twice is an error: two readers of it could choose differently.
func (q *request) query(name string) (string, error) {
	values, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		return "", grandstand.WrapError(grandstand.CodeInvalid, err, "the query of the URL is not well formed")
	}
	if len(values[name]) > 1 {
		return "", grandstand.Errorf(grandstand.CodeInvalid, "the parameter %s stands twice in the URL", name)
	}
	return values.Get(name), nil
}

// number returns a parameter of the query that is a whole number from least to
// most, which it is if it is not there.
func (q *request) number(name string, least, most int) (int, error) {
	text, err := q.query(name)
	if err != nil || text == "" {
		return most, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, grandstand.Errorf(grandstand.CodeInvalid, "%s is a whole number from %d to %d", name, least, most)
	}
	return n, nil
}

// statusOf is the one table from an error's code to its HTTP status.
func statusOf(code grandstand.Code) int {
	switch code {
	case grandstand.CodeInvalid:
		return http.StatusBadRequest
	case grandstand.CodeUnauthorized:
		return http.StatusUnauthorized
	case grandstand.CodeForbidden:
		return http.StatusForbidden
	case grandstand.CodeNotFound:
		return http.StatusNotFound
	case grandstand.CodeConflict:
		return http.StatusConflict
	case grandstand.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case grandstand.CodeRateLimited:
		return http.StatusTooManyRequests
	case grandstand.CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

type problem struct {
	Code    grandstand.Code `json:"code"`
	Message string          `json:"message"`
}

// failed returns the answer that an error is. It logs what is not the client's
// doing.
func (b *Blocker) failed(route string, err error) reply {
	code := grandstand.CodeOf(err)
	a := reply{status: statusOf(code), body: problem{code, grandstand.MessageOf(err)}}
	switch code {
	case grandstand.CodeInternal:
		b.log.Error("answer request", "route", route, "error", err)
	case grandstand.CodeUnavailable:
		b.log.Debug("answer request", "route", route, "error", err)
		a.retry = jittered()
	case grandstand.CodeRateLimited:
		a.retry = jittered()
	}
	return a
}

// jittered is when those who were refused together may come again, not
// together: 1 to 5 s.
func jittered() time.Duration { return time.Second + rand.N(4*time.Second) }

func (b *Blocker) write(w http.ResponseWriter, route string, a reply) {
	b.metrics.answered(route, a.status)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if a.retry > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((a.retry+time.Second-1)/time.Second), 10))
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	json.NewEncoder(w).Encode(a.body)
}
