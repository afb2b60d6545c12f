// Package blocker decides over HTTP which devices of an account may play, and
// shows the account's owner which do.
//
// In: heartbeats of players without a WebSocket and of backends that act for
// their viewers; questions of account pages; notices that an account changed.
//
// Out: asks, leaves and sign-outs to whoever keeps the leases; verdicts, lists
// and streams to whoever asked.
package blocker
