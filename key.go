package grandstand

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
)

// Key stands for a viewer, an account or a device everywhere past the gateway:
// the first 16 bytes of an HMAC-SHA256 of its id under the event's key. The
// same id has another Key in another event.
type Key [16]byte

// IsZero reports whether k stands for nobody.
func (k Key) IsZero() bool { return k == Key{} }

// Hash returns the 64 bits of k that go into sketches. They are uniform, and
// nobody without the secret can choose them.
func (k Key) Hash() uint64 { return binary.BigEndian.Uint64(k[:8]) }

// EventKey is the secret of one event, the same on every node and after a lost
// Redis.
type EventKey [32]byte

// NewEventKey derives the key of an event from the cluster's secret:
// HMAC-SHA256(secret, "event\x00" + event).
func NewEventKey(secret []byte, event string) EventKey {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("event\x00"))
	h.Write([]byte(event))
	var k EventKey
	h.Sum(k[:0])
	return k
}

func (ek EventKey) key(kind, id string) Key {
	if id == "" {
		return Key{}
	}
	h := hmac.New(sha256.New, ek[:])
	h.Write([]byte(kind))
	h.Write([]byte{0})
	h.Write([]byte(id))
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return Key(sum[:16])
}

// Viewer returns the key of a viewer's id; the empty id has the zero Key.
func (ek EventKey) Viewer(id string) Key { return ek.key("viewer", id) }

// Device returns the key of a device's id; the empty id has the zero Key.
func (ek EventKey) Device(id string) Key { return ek.key("device", id) }

// Account returns the key of an account's id; the empty id has the zero Key.
func (ek EventKey) Account(id string) Key { return ek.key("account", id) }

const (
	sessionNonce = 12 // random bytes of a session id
	sessionTag   = 9  // bytes of its tag; 12+9 is a whole number of base64 groups
	sessionChars = (sessionNonce + sessionTag) * 4 / 3
)

// NewSessionID returns a fresh session id of 28 URL-safe characters: 12 random
// bytes and a 9-byte tag that binds them to the event, the viewer and the
// device (their keys as the client declared them, zero if it did not). So any
// node can tell whether a client may resume a session with nothing but the
// secret, even when Redis has just been lost.
func NewSessionID(ek EventKey, viewer, device Key) string {
	var b [sessionNonce + sessionTag]byte
	rand.Read(b[:sessionNonce]) // never fails (crypto/rand docs, Go 1.24)
	tag := sessionTagOf(ek, [sessionNonce]byte(b[:sessionNonce]), viewer, device)
	copy(b[sessionNonce:], tag[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ValidSessionID reports whether id was made by NewSessionID for the same
// event, viewer and device.
func ValidSessionID(ek EventKey, id string, viewer, device Key) bool {
	if len(id) != sessionChars {
		return false
	}
	var b [sessionNonce + sessionTag]byte
	if n, err := base64.RawURLEncoding.Decode(b[:], []byte(id)); err != nil || n != len(b) {
		return false
	}
	tag := sessionTagOf(ek, [sessionNonce]byte(b[:sessionNonce]), viewer, device)
	return subtle.ConstantTimeCompare(tag[:], b[sessionNonce:]) == 1
}

func sessionTagOf(ek EventKey, nonce [sessionNonce]byte, viewer, device Key) [sessionTag]byte {
	h := hmac.New(sha256.New, ek[:])
	h.Write([]byte("session\x00"))
	h.Write(nonce[:])
	h.Write(viewer[:])
	h.Write(device[:])
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return [sessionTag]byte(sum[:sessionTag])
}
