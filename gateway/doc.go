// Package gateway holds the viewers' connections. It authenticates them, counts
// their sessions, writes the counts as tallies once a tick, and sends each
// viewer the frames of its audience.
//
//	                  leaser ◀──▶ Leases (who of an account may play)
//	                    ▲   ┌───▶ Journal (raw events) ─ durable ─▶ acker ─▶ wire
//	                    │   │
//	socket ─ conn ─▶ session ─┐                 ┌─▶ Tallies (one value per shard, one manifest)
//	REST beats ─────▶ session ─┴─ room ─ ticker ─┤
//	                               │            └── Releases (sessions that moved away)
//	socket ◀─ wire ◀─ group ◀──────┘◀── Hub (a view of each board)
//
// A conn is one socket and belongs to one session; a session is one play of one
// event and has any number of sockets, two tabs of a browser for example, or
// none (REST). A room is one event with sessions here. A session is counted by
// its owner only; see ownership for the life of that.
//
// An idle conn is read by no goroutine of its own: see poller.
//
// In: WebSockets and HTTP of players and of whoever reads counts; boards from a
// Hub; releases, memberships, events, verdicts and notices from Redis.
//
// Out: tallies, session records, releases, events and asks for leases to Redis;
// raw events to the journal; frames, acks, verdicts, counts, streams and series to
// whoever asked.
//
// # What a count waits for
//
// A new session counts from the next tick on. One that comes from another
// gateway counts when that one has been told (Sessions.Claim and Release), one
// that Redis has no record of a moment later unless this is the only gateway,
// and one whose segments the registry was not asked about when it answers.
// A session that somebody pays for counts when its account may play it. Nobody
// is counted on a guess, and no socket waits for Redis.
//
// # Who may play
//
// A session of an account that is limited (Rules, the token) asks for a lease
// when it opens and renews it with each beat; beats gather into calls of many
// (leaser). Whoever may not play keeps its socket, is told "blocked" and not
// counted:
//
//	device_limit, too_many_devices    plays as soon as there is a place: a notice says so, or the
//	                                  time at which a lease lapses, or the next beat; "unblocked"
//	unavailable                       the same when leases can be asked for again
//	taken_over, superseded,           only if its viewer wishes: "takeover", or a new session
//	signed_out
//
// A goodbye ("ended", close 1000 or 1001, the end of the event) frees the place;
// after any other end the lease lapses 2 intervals and 5 s after the last beat.
// A session that moves takes its lease along, and a drain frees none. When Redis
// does not answer for 250 ms, who has a lease plays on, who was refused stays
// so, and for newcomers Rules.OnOutage holds. All of this is timed by a clock of
// the process that never jumps.
//
// # What is kept
//
// With a journal every beat and event is written to it as it came, and so is when
// a session joins and leaves, and what changes about its lease (archive.go). All
// of a session stands in the order in which it happened here.
//
//   - {"t":"ack","seq":n} says that every beat and event up to n that this socket
//     carried is durable. What has no seq is kept, and not acknowledged; what could
//     not be used (error invalid) is neither. There is one ack per commit at most,
//     and a socket that is behind is sent the newest one only.
//   - What the journal refuses is answered "unavailable", with its seq; no ack passes
//     it until it was sent again. A socket that has over 64 such gaps gets no ack
//     beyond them: it connects anew.
//   - Over REST the answer says that the beats are durable. If they are not kept, or
//     not within 2 s, it is 503 with the names of the sessions, to be sent again as a
//     whole. Sessions that such a request opened are not counted until a beat names
//     them. The same holds for a list of which a later message is refused.
//
// A beat that is not kept renews its session and its lease all the same. Without a
// journal nothing is kept or acknowledged, and hello says "acks":false.
//
// # When it is overloaded
//
// A gateway that falls behind gives up, in this order, prompt acknowledgements,
// the counts of crosses, and newcomers: 503 with Retry-After. Who watches keeps
// its ticks, and who watched on a gateway that is gone is taken while there is
// room. See overload.go for how it is told.
//
// # Answers to bad input
//
// Before the upgrade, and on every other route, trouble is an HTTP status with
// the body {"code","message"}:
//
//	no upgrade asked for, wrong version, no subprotocol of ours     400 invalid
//	event's name, segment's value, interval or id not well formed   400 invalid
//	?session= that is not a session id at all                       400 invalid
//	?session= of another viewer, device, event or account           403 forbidden
//	limit, lim below 1 or above 64                                  400 invalid, 401 unauthorized
//	no token, an expired, forged or alg:none token                  401 unauthorized
//	token for another event; page of a foreign Origin               403 forbidden
//	unknown event                                                   404 not_found
//	beats or settings for an event that is over                     409 conflict
//	dims of an event that is live changed                           409 conflict
//	body that is not UTF-8, or not there within 10 s                400 invalid
//	body over 256 KiB, or a message in it over 4 KiB                413 too_large
//	more than MessageRate beats a second for one session            429 rate_limited, Retry-After
//	more requests, beats or connections than one network address,
//	or one account, may have (LimitsConfig)                         429 rate_limited, Retry-After
//	overloaded, and new, or no room for sessions from elsewhere     503 unavailable, Retry-After
//	connection cap, shutting down, Redis needed and not there       503 unavailable, Retry-After
//	beats that the journal does not take, or not in time            503 unavailable, Retry-After, and the sessions
//
// What is no HTTP request at all (400), has headers over 16 KiB (431) or takes
// 5 s over them (closed) is the HTTP server's to answer, in plain text. It has
// not come as far as a gateway, and is not counted.
//
// A WebSocket for an event that is over is accepted and closed with 4504, since
// a browser shows its page no status but a close code.
//
// After the upgrade:
//
//	not JSON, wrong types, unknown type, number out of range        error invalid, the socket stays
//	beat or event that the journal does not take                    error unavailable with its seq, the socket stays
//	join of a dimension that viewers may not choose                 error forbidden, the socket stays
//	join while Redis must be asked and does not answer              error unavailable, the socket stays
//	takeover with codes of nobody who plays                         blocked again, the socket stays
//	takeover of a session that is not limited, or has ended         error invalid, the socket stays
//	takeover of a session that goes on at another gateway, or
//	while another is under way                                      error conflict, the socket stays
//	takeover while Redis does not answer                            error unavailable, the socket stays
//	auth with a bad token, or one of another account                close 4501; for another event 4503
//	token expired, not renewed                                      close 4002
//	not UTF-8                                                       close 1007
//	binary message                                                  close 1003
//	message over 4 KiB, in one frame or in fragments                close 1009
//	WebSocket protocol violated                                     close 1002
//	more than MessageRate messages a second, or more than one
//	network address or one account may send                         error rate_limited, close 1008
//	floods of pings, empty fragments and bytes                      close 1008
//	no beat for 2.5 intervals (half-open, or just silent)           close 4000
//	reader that takes nothing for SlowLimit                         close 4008
//	event over                                                      close 4504
//	gateway shutting down                                           drain, then close 1012
//
// Every one of them is counted with its reason (metrics.go).
package gateway
