package archiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"grandstand"
)

// CompactPoints are the places at which a compaction may crash, and the next one
// completes it: before an hour is merged, before an object is written, in the
// middle of it, after it, after it was read back, and before and after the
// hour's manifest is written.
var CompactPoints = []string{"before-merge", "before-put", "during-put", "after-put", "after-readback", "before-manifest", "after-manifest"}

// CompactOptions say what is compacted.
type CompactOptions struct {
	// Event bounds it to one event. Its hours do not count as compacted then:
	// the next run over all events looks at them again. Default: all.
	Event string

	// Now is the time. Default: that of the system.
	Now time.Time

	// Before is the time before which an hour must have ended. Default: Now less
	// ten minutes, in which the last files come in.
	Before time.Time

	// Temp is the directory of temporary files: of the new live objects of an
	// hour, sorted, and of the objects that are made of them. Default: that of
	// the system.
	Temp string

	// hook is called at CompactPoints, so that tests can crash there.
	hook func(point string)

	// full reports whether a part is full. Default: at partBytes.
	full func(bytes int64, rows uint64) bool
}

// compactGrace is how long after its end an hour is compacted.
const compactGrace = 10 * time.Minute

func (o *CompactOptions) validate() error {
	if o.Event != "" && !grandstand.ValidValue(o.Event) {
		return grandstand.Errorf(grandstand.CodeInvalid, "%.64q is not the name of an event", o.Event)
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Before.IsZero() {
		o.Before = o.Now.Add(-compactGrace)
	}
	if o.hook == nil {
		o.hook = func(string) {}
	}
	if o.full == nil {
		o.full = func(bytes int64, _ uint64) bool { return bytes >= partBytes }
	}
	return nil
}

// CompactReport counts what a compaction did.
type CompactReport struct {
	Hours    int    // that were compacted, again or for the first time
	Current  int    // hours that were so already
	Inputs   int    // live objects that were new in their hour
	RowsRead uint64 // of these, in these hours
	Doubles  uint64 // rows that were there already
	Objects  int    // that were written
	Rows     uint64 // in the objects of the events of these inputs, as they are now
	Bytes    int64  // of these objects
}

// Compact brings the rows of closed hours from live/ into events/: one object
// for each event and hour, or several if they are large. An hour's rows are
// unique by (session, seq), and against the hour before. If there are live
// objects that were not there when an hour was compacted, it is compacted again.
//
// Each object is replaced as a whole, so that who reads events/ finds the rows
// of a session as they were before or as they are now. How, and what can be seen
// of an hour of several objects, is told in docs/decisions.
//
// It may be stopped at any point, and done by several at once. An hour that
// fails keeps no other from being compacted; the errors are joined.
func (s *Store) Compact(ctx context.Context, opt CompactOptions) (report CompactReport, err error) {
	if err := opt.validate(); err != nil {
		return report, err
	}
	sw, err := s.switcher()
	if err != nil {
		return report, err
	}
	known := newManifests(s)
	touched, all := s.touched(ctx, known, floorHour(opt.Before.UnixMilli()))
	for _, hour := range closedHours(touched, opt.Before.UnixMilli()) {
		c := &compaction{s: s, sw: sw, known: known, opt: &opt, hour: hour, report: &report}
		if err := c.tryRun(ctx, touched[hour]); err != nil {
			all = errors.Join(all, fmt.Errorf("compact %s: %w", strings.TrimSuffix(hourKey(hour), "/"), err))
		}
		if ctx.Err() != nil {
			return report, errors.Join(all, ctx.Err())
		}
	}
	return report, all
}

// closedHours returns the hours that have live objects, and those after them,
// where what came late may stand already.
func closedHours(touched map[int64][]input, before int64) []int64 {
	hours := map[int64]bool{}
	for h := range touched {
		for _, h := range [...]int64{h, h + hourMS} {
			if h+hourMS <= before {
				hours[h] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(hours))
}

// input is a live object.
type input struct {
	key   string
	size  int64
	home  int64   // the hour in whose folder it is
	hours []int64 // in which it may have rows
}

func (in *input) object() string { return strings.TrimPrefix(in.key, livePrefix) }

func (in *input) stored() []int64 {
	if slices.Equal(in.hours, []int64{in.home}) {
		return nil
	}
	return in.hours
}

// touched returns the live objects by the hours in which they may have rows.
// Those of hours after the one that is given are left out, and those that cannot
// be read, whose errors are joined.
func (s *Store) touched(ctx context.Context, manifests *manifests, newest int64) (hours map[int64][]input, unread error) {
	entries, err := s.objectEntries(ctx, livePrefix)
	if err != nil {
		return nil, err
	}
	hours = map[int64][]input{}
	for _, e := range entries {
		in := input{key: e.Key, size: e.Size, home: math.MinInt64}
		if !strings.HasSuffix(e.Key, parquetSuffix) {
			continue
		}
		if o, ok := parseObject(e); ok { // else its clock was out of all bounds
			if in.home = o.Hour; in.home > newest {
				continue
			}
			m, err := manifests.get(ctx, in.home)
			if err != nil {
				return nil, err
			}
			if known := m.input(in.object()); known != nil {
				if in.hours = known.Hours; in.hours == nil {
					in.hours = []int64{in.home}
				}
			}
		}
		if in.hours == nil {
			if in.hours, err = s.hoursOf(ctx, in.key, in.size); errors.Is(err, errNoObject) {
				continue // pruned meanwhile
			} else if err != nil {
				if unread = errors.Join(unread, wrapKey(in.key, err)); ctx.Err() != nil {
					return nil, unread
				}
			}
		}
		for _, h := range in.hours {
			hours[h] = append(hours[h], in)
		}
	}
	return hours, unread
}

// hoursOf returns the hours in which an object may have rows.
func (s *Store) hoursOf(ctx context.Context, key string, size int64) ([]int64, error) {
	o, err := openObject(s.remote(ctx, key, size), size)
	if err != nil {
		return nil, err
	}
	defer o.close()
	if o.Meta.Rows == 0 {
		return nil, nil
	}
	const near = 4 // a file is of a minute or two; more has a clock that went astray
	first, last := floorHour(o.Meta.MinReceived), floorHour(o.Meta.MaxReceived)
	set := map[int64]bool{}
	if n := (last - first) / hourMS; n >= 0 && n <= near {
		for h := first; h <= last; h += hourMS {
			set[h] = true
		}
		return slices.Sorted(maps.Keys(set)), nil
	}
	columns := [...]int{colReceivedTime}
	for {
		err := o.step(columns[:])
		if err == io.EOF {
			return slices.Sorted(maps.Keys(set)), nil
		}
		if err != nil {
			return nil, err
		}
		at, _ := o.columns[colReceivedTime].number()
		set[floorHour(at)] = true
	}
}

// compaction compacts an hour.
type compaction struct {
	s      *Store
	sw     switcher
	known  *manifests
	opt    *CompactOptions
	hour   int64
	report *CompactReport
}

// compactTries is how often an hour is begun anew if somebody else compacts it
// at the same time.
const compactTries = 8

func (c *compaction) tryRun(ctx context.Context, inputs []input) (err error) {
	for range compactTries {
		err = c.run(ctx, inputs)
		if err != nil {
			c.known.forget(c.hour, c.hour-hourMS)
		}
		if grandstand.CodeOf(err) != grandstand.CodeConflict && !errors.Is(err, errNoObject) {
			return err
		}
	}
	return err
}

func (c *compaction) run(ctx context.Context, inputs []input) error {
	m, err := c.known.get(ctx, c.hour)
	if err != nil {
		return err
	}
	fresh := slices.DeleteFunc(slices.Clone(inputs), func(in input) bool { return m.has(in.object()) })
	again, err := c.undercut(ctx, m)
	if err != nil {
		return err
	}
	if len(fresh) == 0 && len(again) == 0 {
		c.report.Current++
		return nil
	}
	c.opt.hook("before-merge")
	rows, err := c.open(ctx, fresh)
	if err != nil {
		return err
	}
	defer rows.close()
	for {
		event, err := nextEvent(rows, &again)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		entry, err := c.event(ctx, event, rows)
		if err != nil {
			return err
		}
		m.put(entry)
	}
	if c.opt.Event == "" {
		m.addInputs(fresh)
	}
	c.opt.hook("before-manifest")
	saved, err := c.s.saveManifest(ctx, c.hour, m)
	if err == nil && !saved {
		err = errMoved
	}
	if err == nil {
		c.known.forget(c.hour) // it has another tag now
		c.report.Hours++
		c.report.Inputs += len(fresh)
		c.opt.hook("after-manifest")
	}
	return err
}

// undercut returns the events, by name, of whose hour before there is now more
// or less than when this hour was compacted: the two may have rows in common, if
// they were compacted at the same time.
func (c *compaction) undercut(ctx context.Context, m *manifest) (events []string, err error) {
	if len(m.Events) == 0 {
		return nil, nil
	}
	before, err := c.known.get(ctx, c.hour-hourMS)
	if err != nil {
		return nil, err
	}
	for _, e := range m.Events {
		if (c.opt.Event == "" || c.opt.Event == e.Event) && e.Before != before.content(e.Event) {
			events = append(events, e.Event)
		}
	}
	return events, nil
}

// nextEvent returns the event that comes next, of the rows or of the list; io.EOF
// after the last.
func nextEvent(rows *merger, list *[]string) (string, error) {
	row, err := rows.peek()
	if err != nil && err != io.EOF {
		return "", err
	}
	if len(*list) > 0 && (err == io.EOF || (*list)[0] <= string(row.Event)) {
		event := (*list)[0]
		*list = (*list)[1:]
		return event, nil
	}
	if err == io.EOF {
		return "", err
	}
	return string(row.Event), nil
}

// Compacted reports whether all rows of a live object are in the objects of
// closed hours, so that it need not be kept: each of its hours names it, and what
// is there of each of its events is what the hour's manifest says.
func (s *Store) Compacted(ctx context.Context, live Object) (bool, error) {
	return newCompacted(s).all(ctx, live)
}

// compacted finds out what is compacted, and asks for each hour of an event once.
type compacted struct {
	s      *Store
	known  *manifests
	intact map[eventHour]bool // what is there is what the manifest says
}

func newCompacted(s *Store) *compacted {
	return &compacted{s: s, known: newManifests(s), intact: map[eventHour]bool{}}
}

func (c *compacted) all(ctx context.Context, live Object) (bool, error) {
	hours, err := c.s.hoursOf(ctx, live.Key, live.Size)
	if err != nil {
		return false, wrapKey(live.Key, err)
	}
	for _, h := range hours {
		m, err := c.known.get(ctx, h)
		if err != nil || !m.has(strings.TrimPrefix(live.Key, livePrefix)) {
			return false, err
		}
	}
	if len(hours) == 0 {
		return true, nil // it has no rows
	}
	pairs, err := c.s.eventHours(ctx, live)
	if err != nil {
		return false, wrapKey(live.Key, err)
	}
	for p := range pairs {
		if c.intact[p] {
			continue
		}
		parts, err := c.s.parts(ctx, p.event, p.hour)
		if err != nil || contentOf(manifestParts(parts)) != c.known.hours[p.hour].content(p.event) {
			return false, err
		}
		c.intact[p] = true
	}
	return true, nil
}

type eventHour struct {
	event string
	hour  int64
}

// eventHours returns of which events and hours a live object has rows.
func (s *Store) eventHours(ctx context.Context, live Object) (map[eventHour]bool, error) {
	o, err := openObject(s.remote(ctx, live.Key, live.Size), live.Size)
	if err != nil {
		return nil, err
	}
	defer o.close()
	pairs := map[eventHour]bool{}
	columns := [...]int{colEvent, colReceivedTime}
	var last eventHour
	for {
		err := o.step(columns[:])
		if err == io.EOF {
			return pairs, nil
		}
		if err != nil {
			return nil, err
		}
		event := o.columns[colEvent].text()
		at, _ := o.columns[colReceivedTime].number()
		if h := floorHour(at); len(pairs) == 0 || string(event) != last.event || h != last.hour {
			last = eventHour{string(event), h}
			pairs[last] = true
		}
	}
}
