package grandstand

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxNesting bounds how deep the lists and objects of a client's message are
// nested, the message itself included.
const MaxNesting = 32

// scanner goes through JSON (RFC 8259) without allocating. It accepts what
// encoding/json does, but for nesting deeper than MaxNesting. After the first
// trouble it stands at the end and every call returns nothing. Invalid UTF-8
// inside of strings passes: whoever takes bytes from a client checks that.
type scanner struct {
	b      []byte
	i      int
	failed bool
	at     int // where it failed
	deep   bool
}

func (s *scanner) fail() {
	if !s.failed {
		s.failed, s.at = true, s.i
	}
	s.i = len(s.b)
}

// err says what is wrong with the form of the text, nil if nothing is.
func (s *scanner) err() error {
	switch {
	case !s.failed:
		return nil
	case s.deep:
		return Errorf(CodeInvalid, "the message is nested deeper than %d", MaxNesting)
	default:
		return Errorf(CodeInvalid, "the message is not valid JSON: trouble at byte %d", s.at)
	}
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		c := s.b[s.i]
		if c > ' ' || c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c
		}
		s.i++
	}
	return 0
}

// end fails if anything but white space is left.
func (s *scanner) end() {
	if s.peek(); s.i < len(s.b) {
		s.fail()
	}
}

// more goes to the next item of the list or object that closing ends, past the
// comma unless it is the first, and reports whether there is one.
func (s *scanner) more(closing byte, first bool) bool {
	switch c := s.peek(); {
	case c == closing:
		s.i++
		return false
	case first:
		return !s.failed
	case c == ',':
		s.i++
		return true
	}
	s.fail()
	return false
}

// key reads the name of an object's member and the colon. See str.
func (s *scanner) key() (raw []byte, escaped bool) {
	if s.peek() != '"' {
		s.fail()
		return nil, false
	}
	raw, escaped = s.str()
	if s.peek() != ':' {
		s.fail()
		return nil, false
	}
	s.i++
	return raw, escaped
}

// str reads the string that begins here and returns what is between its
// quotes, and whether that has escapes (see unescape).
func (s *scanner) str() (raw []byte, escaped bool) {
	s.i++
	b, i := s.b[s.i:], 0
	for ; i < len(b); i++ {
		c := b[i]
		if !special[c] {
			continue
		}
		if c == '"' {
			s.i += i + 1
			return b[:i:i], escaped
		}
		n := 0
		if c == '\\' {
			n = escapeLen(b[i:])
		}
		if n == 0 {
			break
		}
		escaped = true
		i += n - 1
	}
	s.i += i
	s.fail()
	return nil, false
}

// special are the bytes that do not stand for themselves in a string.
var special = func() (is [256]bool) {
	for c := range ' ' {
		is[c] = true
	}
	is['"'], is['\\'] = true, true
	return is
}()

// escapeLen returns the length of the escape that b begins with, 0 if it is
// none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b); ok {
			return 6
		}
	}
	return 0
}

// hex4 returns the number in the escape \uXXXX that b begins with.
func hex4(b []byte) (v rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | rune(c)
	}
	return v, true
}

// unescape appends what a string of str stands for. A lone surrogate is
// U+FFFD, as in encoding/json.
func unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		switch c = raw[i+1]; c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, _ := hex4(raw[i:])
			i += 6
			if utf16.IsSurrogate(r) {
				second, _ := hex4(raw[i:])
				if r = utf16.DecodeRune(r, second); r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
		i += 2
	}
	return dst
}

// digits skips digits; there is at least one.
func (s *scanner) digits() {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	if s.i == start {
		s.fail()
	}
}

// num reads the number that begins here and returns its text.
func (s *scanner) num() []byte {
	start := s.i
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else {
		s.digits()
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		s.digits()
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		s.digits()
	}
	if s.failed {
		return nil
	}
	return s.b[start:s.i]
}

// short reads a number that is written with 1 to 15 digits and nothing else:
// most are. It reads nothing, and ok is false, if another thing is next.
func (s *scanner) short() (v int64, ok bool) {
	b, n := s.b[s.i:], 0
	for ; n < len(b) && b[n]-'0' <= 9; n++ {
		v = v*10 + int64(b[n]-'0') // may wrap around: then there are over 15
	}
	if n == 0 || n >= len(tens) || b[0] == '0' && n > 1 || n < len(b) && (b[n] == '.' || b[n]|0x20 == 'e') {
		return 0, false
	}
	s.i += n
	return v, true
}

func (s *scanner) literal(word string) {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		s.fail()
		return
	}
	s.i += len(word)
}

// skip goes past the value that is next, which is nested depth deep.
func (s *scanner) skip(depth int) {
	c := s.peek()
	if (c == '{' || c == '[') && depth > MaxNesting {
		s.deep = !s.failed
		s.fail()
		return
	}
	switch c {
	case '"':
		s.str()
	case '{':
		s.i++
		for first := true; s.more('}', first); first = false {
			s.key()
			s.skip(depth + 1)
		}
	case '[':
		s.i++
		for first := true; s.more(']', first); first = false {
			s.skip(depth + 1)
		}
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		s.num()
	default:
		s.fail()
	}
}

// tens are the powers of ten that a float64 holds exactly.
var tens = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// parseNumber returns the value of a number's text and whether it is written
// without fraction and exponent. Numbers of up to 15 digits are exact without
// strconv: both parts of the quotient are (Clinger 1990, the fast path). ok is
// false if it is not finite.
func parseNumber(text []byte) (v float64, whole, ok bool) {
	digits, mantissa, point := 0, uint64(0), -1
	b := text
	if b[0] == '-' {
		b = b[1:]
	}
	for i, c := range b {
		switch {
		case c >= '0' && c <= '9':
			digits++
			mantissa = mantissa*10 + uint64(c-'0')
		case c == '.':
			point = i
		default:
			digits = len(tens) // an exponent
		}
		if digits >= len(tens) {
			v, err := strconv.ParseFloat(string(text), 64)
			return v, isWhole(b), err == nil
		}
	}
	v = float64(mantissa)
	if point >= 0 {
		v /= tens[len(b)-1-point]
	}
	if len(b) < len(text) {
		v = -v
	}
	return v, point < 0, true
}

func isWhole(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
