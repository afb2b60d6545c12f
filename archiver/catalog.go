package archiver

import (
	"context"
	"strconv"
	"strings"
	"time"

	"grandstand"
)

// Object is an object of raw events in the store.
type Object struct {
	Key  string
	Size int64

	// Event is whose rows they are; "" if those of all events are together, as
	// they are in live/.
	Event string

	Hour int64 // Unix ms: in live/ of the first event of the journal file
}

// Live reports whether the object holds a journal file, just as it came.
func (o *Object) Live() bool { return o.Event == "" }

// Objects lists the objects of raw events: those of all events that are as they
// came, then those of closed hours, of the event only unless that is "". Within
// these they are in the order of their keys.
func (s *Store) Objects(ctx context.Context, event string) ([]Object, error) {
	closed := eventsPrefix
	if event != "" {
		if !grandstand.ValidValue(event) {
			return nil, grandstand.Errorf(grandstand.CodeInvalid, "%.64q is not the name of an event", event)
		}
		closed += "event=" + event + "/"
	}
	var list []Object
	for _, prefix := range []string{livePrefix, closed} {
		entries, err := s.objectEntries(ctx, prefix)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if o, ok := parseObject(e); ok {
				list = append(list, o)
			}
		}
	}
	return list, nil
}

func (s *Store) objectEntries(ctx context.Context, prefix string) ([]Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, listingTimeout)
	defer cancel()
	entries, err := s.blobs.list(ctx, prefix)
	if err != nil {
		return nil, unavailable(err, "list "+prefix)
	}
	return entries, nil
}

// listingTimeout bounds a listing: an hour of a large deployment has some ten
// thousand objects.
const listingTimeout = 10 * Timeout

// parseObject reads a key. Anything that is none of ours is left alone.
func parseObject(e Entry) (Object, bool) {
	o := Object{Key: e.Key, Size: e.Size}
	rest, live := strings.CutPrefix(e.Key, livePrefix)
	if !live {
		var ok bool
		if rest, ok = strings.CutPrefix(e.Key, eventsPrefix+"event="); !ok {
			return o, false
		}
		if o.Event, rest, ok = strings.Cut(rest, "/"); !ok || !grandstand.ValidValue(o.Event) {
			return o, false
		}
	}
	if !strings.HasSuffix(rest, parquetSuffix) {
		return o, false
	}
	folder := rest[:strings.LastIndexByte(rest, '/')+1]
	at, err := time.Parse(hourLayout, folder)
	if err != nil {
		return o, false
	}
	o.Hour = at.UnixMilli()
	return o, true
}

// eventsPrefix is of the objects of closed hours.
const eventsPrefix = "events/"

// hourLayout is the folder of an hour, in UTC.
const hourLayout = "date=2006-01-02/hour=15/"

// hourMS is an hour.
const hourMS = 3_600_000

// fileOrder orders live objects by journal and file number, in which a session's
// events on one gateway happened.
func fileOrder(a, b Object) int {
	name := func(o Object) string { return o.Key[strings.LastIndexByte(o.Key, '/')+1:] }
	an, bn := name(a), name(b)
	aj, af, _ := strings.Cut(an, "-")
	bj, bf, _ := strings.Cut(bn, "-")
	if c := strings.Compare(aj, bj); c != 0 {
		return c
	}
	number := func(s string) uint64 {
		s, _, _ = strings.Cut(strings.TrimSuffix(s, parquetSuffix), "-")
		n, _ := strconv.ParseUint(s, 10, 64)
		return n
	}
	if x, y := number(af), number(bf); x != y {
		if x < y {
			return -1
		}
		return 1
	}
	return strings.Compare(an, bn)
}
