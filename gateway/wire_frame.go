package gateway

import (
	"encoding/binary"
	"unicode/utf8"

	"grandstand"
)

// opcode is what a WebSocket frame is (RFC 6455, 5.2).
type opcode uint8

const (
	opContinuation opcode = 0x0
	opText         opcode = 0x1
	opBinary       opcode = 0x2
	opClose        opcode = 0x8
	opPing         opcode = 0x9
	opPong         opcode = 0xa
)

const (
	fin        = 0x80 // bit of a frame's first byte: the last of its message
	maxControl = 125  // bytes of a control frame
	maxHeader  = 14   // bytes before the payload of a client's frame

	// maxFrame is the most bytes of a client's frame that are ever waited for.
	maxFrame = maxHeader + grandstand.MaxMessageBytes
)

// clientFrame is one frame of a client.
type clientFrame struct {
	op      opcode
	fin     bool
	payload []byte // unmasked; aliases what was parsed
}

// parseFrame reads the first frame of b, which it unmasks in place, and returns
// its size. A size of 0 says that b is not all of it yet. A code other than 0 is
// that of the close frame with which a server answers: what follows cannot be
// read.
func parseFrame(b []byte) (f clientFrame, size int, bad closeCode) {
	if len(b) < 2 {
		return f, 0, 0
	}
	const rsv, op, masked, length = 0x70, 0x0f, 0x80, 0x7f
	f.op, f.fin = opcode(b[0]&op), b[0]&fin != 0
	n, header := uint64(b[1]&length), 2
	if b[0]&rsv != 0 || b[1]&masked == 0 {
		return f, 0, closeProtocol
	}
	switch f.op {
	case opContinuation, opText, opBinary:
	case opClose, opPing, opPong:
		if n > maxControl || !f.fin {
			return f, 0, closeProtocol
		}
	default:
		return f, 0, closeProtocol
	}
	switch {
	case n == 126 && len(b) < 4, n == 127 && len(b) < 10:
		return f, 0, 0
	case n == 126:
		n, header = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case n == 127:
		n, header = binary.BigEndian.Uint64(b[2:]), 10
	}
	switch {
	case n>>63 != 0:
		return f, 0, closeProtocol
	case n > grandstand.MaxMessageBytes:
		return f, 0, closeTooLarge
	}
	size = header + 4 + int(n)
	if len(b) < size {
		return f, 0, 0
	}
	f.payload = b[header+4 : size : size]
	unmask(f.payload, [4]byte(b[header:]))
	return f, size, 0
}

// unmask removes, or puts on, the mask of a client's frame (RFC 6455, 5.3).
func unmask(b []byte, key [4]byte) {
	word := uint64(binary.LittleEndian.Uint32(key[:]))
	word |= word << 32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^word)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= key[i%4]
	}
}

// parseClose returns the status of a close frame, closeEcho if it has none. For a
// status that may not be sent (RFC 6455, 7.4) or a reason that is not UTF-8 bad is
// what it is answered with.
func parseClose(payload []byte) (status, bad closeCode) {
	if len(payload) == 0 {
		return closeEcho, 0
	}
	if len(payload) == 1 {
		return 0, closeProtocol
	}
	status = closeCode(binary.BigEndian.Uint16(payload))
	switch {
	case !(status >= 1000 && status <= 1003 || status >= 1007 && status <= 1014 || status >= 3000 && status <= 4999):
		return 0, closeProtocol
	case !utf8.Valid(payload[2:]):
		return 0, closeUTF8
	}
	return status, 0
}

// appendFrameOf appends a complete frame of a server (RFC 6455, 5.2: FIN, not
// masked).
func appendFrameOf(dst []byte, op opcode, payload []byte) []byte {
	return append(appendHeader(dst, op, len(payload)), payload...)
}

func appendHeader(dst []byte, op opcode, n int) []byte {
	switch {
	case n < 126:
		return append(dst, fin|byte(op), byte(n))
	case n <= 0xffff:
		return append(dst, fin|byte(op), 126, byte(n>>8), byte(n))
	default:
		dst = append(dst, fin|byte(op), 127)
		return binary.BigEndian.AppendUint64(dst, uint64(n))
	}
}

// appendText appends payload as a complete text frame.
func appendText(dst, payload []byte) []byte { return appendFrameOf(dst, opText, payload) }

// appendFrame appends the text frame of f as it is sent at now, or its compact
// form in a binary frame.
func appendFrame(dst []byte, f *grandstand.Frame, compact bool, now int64) []byte {
	if compact {
		const room = 2 // for the shorter header, which is right for nearly all
		at := len(dst)
		dst = f.AppendCompact(append(dst, make([]byte, room)...), now)
		return reframe(dst, at, room, opBinary)
	}
	const room = 4 // for the longer header, which is right for nearly all
	at := len(dst)
	dst = f.AppendJSON(append(dst, make([]byte, room)...), now)
	return reframe(dst, at, room, opText)
}

// reframe writes the header of the payload that begins room bytes after at, and
// moves the payload if its header does not take as much.
func reframe(dst []byte, at, room int, op opcode) []byte {
	payload := dst[at+room:]
	var header [10]byte
	h := appendHeader(header[:0], op, len(payload))
	if len(h) != room {
		return append(append(dst[:at], h...), append([]byte(nil), payload...)...)
	}
	copy(dst[at:], h)
	return dst
}

// appendClose appends a close frame of a server.
func appendClose(dst []byte, code closeCode) []byte {
	reason := code.reason()
	dst = appendHeader(dst, opClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}
