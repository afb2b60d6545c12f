package grandstand

import (
	"crypto/hmac"
	"crypto/sha256"
)

// RevocationKind says what of a token a revocation names.
type RevocationKind string

// The kinds of revocations, by the claim that they name (RFC 7519, 4.1).
const (
	RevokeToken   RevocationKind = "jti"
	RevokeViewer  RevocationKind = "sub"
	RevokeAccount RevocationKind = "acc"
	RevokeAll     RevocationKind = "all" // names nobody
)

// Revocation has tokens refused that have not expired yet.
type Revocation struct {
	Name   RevocationName
	Before int64 // Unix ms: only tokens issued earlier (iat); of RevokeToken all
	Until  int64 // Unix ms: the tokens have expired by then, and it is forgotten
}

// RevocationName is whom a revocation is about.
type RevocationName struct {
	Kind RevocationKind
	Key  Key // zero for RevokeAll
}

// MaxRevocations is how many revocations stand at a time. Whoever needs more
// revokes all tokens that were issued before a time.
const MaxRevocations = 10_000

// RevocationsKey is the secret that ids are known by in revocations.
type RevocationsKey [32]byte

// NewRevocationsKey derives the key from the cluster's secret:
// HMAC-SHA256(secret, "revocations\x00").
func NewRevocationsKey(secret []byte) RevocationsKey {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("revocations\x00"))
	return RevocationsKey(h.Sum(nil))
}

// Name returns the name of an id of the kind. The empty id has the zero Key, and
// so has every id of RevokeAll.
func (rk RevocationsKey) Name(kind RevocationKind, id string) RevocationName {
	if id == "" || kind == RevokeAll {
		return RevocationName{Kind: kind}
	}
	h := hmac.New(sha256.New, rk[:])
	h.Write([]byte(kind))
	h.Write([]byte{0})
	h.Write([]byte(id))
	return RevocationName{Kind: kind, Key: Key(h.Sum(nil)[:16])}
}
