// Package blocker decides over HTTP which devices of an account may play, and
// shows the account's owner which do.
//
//	heartbeat ─▶ Auth ─▶ rates ─▶ body ─▶ Rules.Terms ─▶ Leases.Ask ─▶ 200, 409, 410
//	                                        (+ the event's own)  └ no answer: Rules.OnOutage
//
//	stream ─┐                         ┌── a notice, a lapse, or 20 s
//	stream ─┼── watch (one per account) ── Accounts.Account
//	stream ─┘
//
// A heartbeat is one Ask: the blocker itself keeps nothing of a session, and any
// blocker may take the next one. What a player must bring along, session and
// hold, it is given. A watch reads its account once per change, however many
// streams show it.
//
// In: heartbeats of players without a WebSocket and of backends that act for
// their viewers; questions of account pages; notices that an account changed.
//
// Out: asks, leaves and sign-outs to whoever keeps the leases; verdicts, lists
// and streams to whoever asked; raw events of what was decided to a journal.
//
// # A heartbeat
//
// POST /v1/accounts/{account}/devices/{device}/heartbeat, the body empty or
//
//	{"event":"final","session":"…","hold":"…","interval_ms":10000,"name":"TV","terminate":["…"],"ended":true}
//
// The first answer gives session (unless the player has one) and hold; both are
// sent with every further heartbeat, the newest hold each time. terminate, even
// an empty list, says that the viewer wants to play here: it lets a session play
// again that was taken over, superseded or signed out, and ends the named leases
// if there is no place otherwise. It goes with the one heartbeat after the
// viewer's click, not with all. "ended":true or "state":"ended" frees the place.
// A service, or anybody with --auth none, adds limit, plan and address (of the
// player), which otherwise come from the token and the connection.
//
//	plays                                      200 {"status":"allowed","session","current","limit","rule",
//	                                               "expires_in_ms","heartbeat_interval_ms","hold"}
//	plays beyond a limit that is not enforced  200, with "would_block":true
//	leases cannot be asked for, on_outage is   200, with "outage":true, without "current"; hold is as it was
//	  allow, or the session shows a hold of
//	  the last 15 min
//	ended                                      200 {"status":"ended","session"}
//	device_limit, too_many_devices             409 grandstand.Refusal, "session", "heartbeat_interval_ms";
//	                                               Retry-After, and retry_ms in the body
//	taken_over, superseded, signed_out         410 the same; not to be asked again before the viewer wants to
//	leases cannot be asked for, else           503 the same, code unavailable; Retry-After
//
// A termination code that is wrong, or was used, ends nothing: the answer is
// that of a heartbeat without it.
//
// # The other routes
//
//	GET …/devices            200 {"at","limit","rule","current","this","devices":[{"device","name","event","status",
//	                             "code","by","since","last_seen","expires_in_ms","would_block"}]}
//	                             status: playing, waiting, ended. One entry per device, but for one that plays
//	                             in one session and waits in another
//	GET …/devices/stream     200 Server-Sent Events: the same at first and when it changed, which a renewal is
//	                             not; with "stale":true while it cannot be looked up
//	GET …/devices/{device}   200 {"status":"allowed"|"idle","device","name","event","since","last_seen",
//	                             "expires_in_ms","rule","limit","current"}, or "blocked" with what a 409 says;
//	                             ?session= asks for that session only
//	DELETE …/devices/{device}  204, whether it played or not
//	GET …/decisions?limit=50 200 {"decisions":[{"at","outcome","code","rule","limit","current","device","name",
//	                             "event","rivals"}]}, the newest first
//
// {device} is the device's id, or, but in a heartbeat, its key as the list has
// it. Ids are percent-encoded; the ids "." and ".." are lost to most clients, and
// a device called "stream" is asked for as %73tream or by its key.
//
// # Answers to bad input
//
// Trouble is an HTTP status with the body {"code","message"}:
//
//	id not 1 to 256 bytes of UTF-8 without control characters       400 invalid
//	body not UTF-8, no JSON object, a member of a wrong type        400 invalid
//	session or event not 1 to 64 of A-Z a-z 0-9 . _ -               400 invalid
//	limit not 1 to 64, over 32 codes, an address that is none       400 invalid
//	token of several events, and the heartbeat names none           400 invalid
//	no token, an expired or forged one                              401 unauthorized
//	token of another account; for a heartbeat of another device     403 forbidden
//	token of another event; limit, plan, address from no service    403 forbidden
//	no such address; no such method                                 404 not_found; 405 invalid
//	body over 8 KiB                                                 413 too_large
//	more than RequestRate requests a second for one account, more
//	than MaxAccountStreams streams                                  429 rate_limited, Retry-After
//	Redis needed and not there, MaxStreams, shutting down           503 unavailable, Retry-After
//
// Members that are not known are ignored; one that is null or "" was not said. A
// hold that is forged, or another session's, counts as none. interval_ms is
// clamped to 5 to 60 s. All of it is counted (metrics.go).
package blocker
