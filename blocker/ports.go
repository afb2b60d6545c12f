package blocker

import (
	"context"
	"net/http"

	"grandstand"
)

// Clock tells Redis time.
type Clock interface {
	// Now returns Redis ms and never blocks.
	Now() int64
}

// Leases decides who may play. Every method has the deadline of its context.
type Leases interface {
	// Ask returns one answer per ask, in their order.
	Ask(ctx context.Context, asks []grandstand.Ask) []grandstand.Answer

	// Leave frees the places of sessions that ended on purpose.
	Leave(ctx context.Context, leaves []grandstand.Leave) error

	// SignOut ends all sessions of a device, and returns how many there were.
	SignOut(ctx context.Context, account, device grandstand.Key) (ended int, err error)
}

// Accounts reads what is kept of accounts.
type Accounts interface {
	// Account never returns nil without an error.
	Account(ctx context.Context, account grandstand.Key) (*grandstand.AccountState, error)

	// Decisions returns the newest decisions, the newest first.
	Decisions(ctx context.Context, account grandstand.Key, limit int) ([]grandstand.Decision, error)
}

// Notices says which accounts changed.
type Notices interface {
	// WatchAccount has member told of every change of the account for 60 s,
	// but for renewals.
	WatchAccount(ctx context.Context, account grandstand.Key, member string) error

	// FollowNotices tells until ctx ends. The zero Key: notices may have been
	// lost, look at all accounts. It is called by one goroutine at a time.
	FollowNotices(ctx context.Context, member string, tell func(account grandstand.Key)) error
}

// Events keeps the configuration of events.
type Events interface {
	// GetEvent returns an error with CodeNotFound for an unknown event.
	GetEvent(ctx context.Context, name string) (*grandstand.Event, error)
}

// Auth decides who may do what.
type Auth interface {
	// Caller returns who asks. It leaves the request's body alone, and may be
	// called at the same time. Its errors have CodeInvalid, CodeUnauthorized,
	// CodeForbidden or CodeUnavailable and a message for the client.
	Caller(r *http.Request) (Caller, error)
}

// Caller is who asks, as far as the Auth believes it.
type Caller struct {
	Account string // whose devices it may see and end, and play on
	Device  string // the only one that it may play on; "": any of the account
	Name    string // of that device; "": the heartbeat says it, or the User-Agent

	Service bool // a backend: it acts for any account, and says what its limit is
	Open    bool // there are no tokens: anybody does

	Limit   int      // streams of the account, 1 to grandstand.MaxStreams; 0: not said
	Plan    string   // of the account; "": not said
	Events  []string // that it may play; nil: any
	Expires int64    // Unix ms of the wall clock; 0: never
}

// anyone reports whether the caller may act for every account.
func (c *Caller) anyone() bool { return c.Service || c.Open }
