package grandstand

import "strings"

// The dimension that is always there, and the values that every dimension may
// take besides those of its viewers.
const (
	World   = "world"   // the dimension with one segment, everybody; its value is ""
	Unknown = "unknown" // the value of a session that declared none
	Other   = "other"   // the value of a session whose own was not admitted
)

// Limits of an event's segments. They bound what a hostile or careless client
// can make the system remember.
const (
	MaxValueLen       = 64    // bytes of one value
	MaxFreeValues     = 256   // values that viewers can add to one dimension
	MaxRegions        = 6000  // values of the dimension "region" (ISO 3166-2 has about 5,100)
	MaxSegments       = 20000 // segments of one event, crosses included
	MaxDimensions     = 16    // dimensions of one event, crosses included
	crossSeparator    = '+'   // between the dimensions, and the values, of a cross
	segmentSeparator  = ':'   // between dimension and value in a Segment's text
	maxDimensionBytes = 64
)

// Segment is one value of one dimension: {"team", "KC"}. World is {"world", ""}.
// A cross has the dimensions and the values joined: {"team+region", "KC+US-CA"}.
type Segment struct {
	Dim, Value string
}

// WorldSegment is the segment that every session is in.
var WorldSegment = Segment{Dim: World}

// String returns "team:KC", and "world" for the world.
func (s Segment) String() string {
	if s.Dim == World {
		return World
	}
	return s.Dim + string(segmentSeparator) + s.Value
}

// ParseSegment reads what String wrote. Its errors have CodeInvalid.
func ParseSegment(text string) (Segment, error) {
	if text == World {
		return WorldSegment, nil
	}
	dim, value, ok := strings.Cut(text, string(segmentSeparator))
	if !ok || !validDimension(dim) || dim == World || !validCrossValue(value) {
		return Segment{}, Errorf(CodeInvalid, "a segment is written dimension:value, such as team:KC, or world")
	}
	return Segment{Dim: dim, Value: value}, nil
}

// ValidValue reports whether v may be the value of a segment, or the name of an
// event: 1 to 64 bytes of [A-Za-z0-9._-].
func ValidValue(v string) bool {
	if len(v) == 0 || len(v) > MaxValueLen {
		return false
	}
	for i := range len(v) {
		switch c := v[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

func validCrossValue(v string) bool {
	for part := range strings.SplitSeq(v, string(crossSeparator)) {
		if !ValidValue(part) {
			return false
		}
	}
	return true
}

// validDimension accepts plain names, [a-z][a-z0-9_]*, and crosses of them.
func validDimension(name string) bool {
	if len(name) == 0 || len(name) > maxDimensionBytes {
		return false
	}
	for part := range strings.SplitSeq(name, string(crossSeparator)) {
		if part == "" || part[0] < 'a' || part[0] > 'z' {
			return false
		}
		for i := range len(part) {
			if c := part[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
				return false
			}
		}
	}
	return true
}

// IsCross reports whether the dimension is made of others, as team+region is.
func IsCross(dim string) bool { return strings.IndexByte(dim, crossSeparator) >= 0 }
