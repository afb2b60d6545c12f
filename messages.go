package grandstand

import (
	"strconv"
	"unicode/utf8"
)

// The server's messages on the viewer's WebSocket, but for "counts" (Frame).
// Each function appends one message, a JSON object; times are in ms.

// AppendHello appends the first message of a connection: the session's id, the
// beat and tick to keep, and the dimensions (Event.DimNames).
func AppendHello(dst []byte, session string, beatMS, tickMS int64, dims []string) []byte {
	dst = appendJSONString(append(dst, `{"t":"hello","session":`...), session)
	dst = appendPaceMembers(dst, beatMS, tickMS)
	dst = append(dst, `,"dims":[`...)
	for i, d := range dims {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(dst, d)
	}
	return append(dst, ']', '}')
}

// AppendOK appends that the message of the type re was carried out.
func AppendOK(dst []byte, re string) []byte {
	dst = appendJSONString(append(dst, `{"t":"ok","re":`...), re)
	return append(dst, '}')
}

// AppendPace appends the beat and tick that hold from now on.
func AppendPace(dst []byte, beatMS, tickMS int64) []byte {
	dst = appendPaceMembers(append(dst, `{"t":"pace"`...), beatMS, tickMS)
	return append(dst, '}')
}

func appendPaceMembers(dst []byte, beatMS, tickMS int64) []byte {
	dst = strconv.AppendInt(append(dst, `,"beat_ms":`...), beatMS, 10)
	return strconv.AppendInt(append(dst, `,"tick_ms":`...), tickMS, 10)
}

// AppendRenew appends the request for a new token.
func AppendRenew(dst []byte) []byte { return append(dst, `{"t":"renew"}`...) }

// AppendDrain appends the request to connect again elsewhere after retryMS.
func AppendDrain(dst []byte, retryMS int64) []byte {
	dst = strconv.AppendInt(append(dst, `{"t":"drain","retry_ms":`...), retryMS, 10)
	return append(dst, '}')
}

// AppendAck appends that every event up to seq that the connection carried is
// durable.
func AppendAck(dst []byte, seq uint64) []byte {
	dst = strconv.AppendUint(append(dst, `{"t":"ack","seq":`...), seq, 10)
	return append(dst, '}')
}

// AppendError appends that a message could not be used and why, and the seq of
// that message if it had one.
func AppendError(dst []byte, code Code, message string, seq uint64, hasSeq bool) []byte {
	dst = appendJSONString(append(dst, `{"t":"error","code":`...), string(code))
	dst = appendJSONString(append(dst, `,"message":`...), message)
	if hasSeq {
		dst = strconv.AppendUint(append(dst, `,"seq":`...), seq, 10)
	}
	return append(dst, '}')
}

// appendJSONString appends s as a JSON string (RFC 8259, 7). Invalid UTF-8
// becomes U+FFFD.
func appendJSONString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		i++
	}
	return append(dst, '"')
}
