package grandstand

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"slices"
)

// AccountsKey is the secret that accounts are known by: unlike EventKey one for
// all events, since an account's streams count in all of them together.
type AccountsKey [32]byte

// NewAccountsKey derives the key from the cluster's secret:
// HMAC-SHA256(secret, "accounts\x00").
func NewAccountsKey(secret []byte) AccountsKey {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("accounts\x00"))
	return AccountsKey(h.Sum(nil))
}

// mac returns HMAC-SHA256(ak, kind 0 parts), each part with its length before
// it, so that no two lists of parts are the same bytes.
func (ak AccountsKey) mac(kind string, parts ...[]byte) [32]byte {
	h := hmac.New(sha256.New, ak[:])
	h.Write([]byte(kind))
	h.Write([]byte{0})
	for _, p := range parts {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}

func (ak AccountsKey) key(kind string, parts ...[]byte) Key {
	sum := ak.mac(kind, parts...)
	return Key(sum[:16])
}

// Account returns the key of an account's id; the empty id has the zero Key.
func (ak AccountsKey) Account(id string) Key {
	if id == "" {
		return Key{}
	}
	return ak.key("account", []byte(id))
}

// Device returns the key of a device of an account; the empty id has the zero
// Key. The same device has another one under another account.
func (ak AccountsKey) Device(account Key, id string) Key {
	if id == "" {
		return Key{}
	}
	return ak.key("device", account[:], []byte(id))
}

// Address returns the key of the network that a device of an account is in: of
// the IPv4 address, or of the /64 of an IPv6 one. An invalid address has the
// zero Key.
func (ak AccountsKey) Address(account Key, a netip.Addr) Key {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return Key{}
	}
	if a.Is6() {
		p, _ := a.Prefix(64) // never fails: 64 bits of 128
		a = p.Addr()
	}
	return ak.key("address", account[:], a.AsSlice())
}

// TerminationCode returns the code with which a viewer of the account may end
// the lease: 22 URL-safe characters, good as long as the lease is.
func (ak AccountsKey) TerminationCode(account Key, l LeaseRef) string {
	k := ak.key("terminate", account[:], l.Device[:], []byte(l.Session), be64(l.Born))
	return k.Text()
}

// Named returns those leases of the account that codes name, in the order of
// the codes.
func (ak AccountsKey) Named(account Key, leases []Lease, codes []string) []LeaseRef {
	if len(codes) == 0 {
		return nil
	}
	own := make([][]byte, len(leases)) // once each: a client may send any number of codes
	for i := range leases {
		own[i] = []byte(ak.TerminationCode(account, leases[i].LeaseRef))
	}
	var named []LeaseRef
	for _, code := range codes {
		for i := range leases {
			if subtle.ConstantTimeCompare([]byte(code), own[i]) == 1 && !slices.Contains(named, leases[i].LeaseRef) {
				named = append(named, leases[i].LeaseRef)
			}
		}
	}
	return named
}

const (
	holdNumbers = 3 * 8
	holdTag     = 12
	holdChars   = (holdNumbers + holdTag) * 4 / 3 // a whole number of base64 groups
)

// SignHold returns a Hold as a player without a WebSocket keeps it: 48 URL-safe
// characters that are good for this account, device and session only.
func (ak AccountsKey) SignHold(account, device Key, session string, h Hold) string {
	b := slices.Concat(be64(h.Since), be64(h.Born), be64(h.Granted))
	sum := ak.mac("hold", account[:], device[:], []byte(session), b)
	return base64.RawURLEncoding.EncodeToString(append(b, sum[:holdTag]...))
}

// ParseHold reads what SignHold returned. It is false for anything else.
func (ak AccountsKey) ParseHold(text string, account, device Key, session string) (Hold, bool) {
	if len(text) != holdChars {
		return Hold{}, false // among others with line breaks, which the decoder skips
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != holdNumbers+holdTag {
		return Hold{}, false
	}
	sum := ak.mac("hold", account[:], device[:], []byte(session), b[:holdNumbers])
	if subtle.ConstantTimeCompare(sum[:holdTag], b[holdNumbers:]) != 1 {
		return Hold{}, false
	}
	n := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	return Hold{Since: n(0), Born: n(1), Granted: n(2)}, true
}

func be64(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// Text returns k as 22 URL-safe characters.
func (k Key) Text() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// ParseKey reads what Text returned. It is false, with the zero Key, for
// anything else.
func ParseKey(text string) (Key, bool) {
	var k Key
	if len(text) != base64.RawURLEncoding.EncodedLen(len(k)) {
		return k, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(k) {
		return k, false
	}
	return Key(b), true
}
