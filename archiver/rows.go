package archiver

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"grandstand"
)

// RowsOptions say which rows of an event are read.
type RowsOptions struct {
	Event    string
	From, To int64  // Unix ms of ReceivedTime, To exclusive; 0: not bounded
	Temp     string // directory of objects while they are read; "": the system's
}

// Rows calls each with the rows of an event in the order of ReceivedTime, each
// (session, seq) of an hour once, until that returns an error, which it returns.
// A row is valid during the call only. Hours that are compacted are read from
// events/, others, and what came later, from live/. It holds the rows of an hour in memory, about 300
// bytes each.
func (s *Store) Rows(ctx context.Context, opt RowsOptions, each func(*Row) error) error {
	list, err := s.Objects(ctx, opt.Event)
	if err != nil {
		return err
	}
	live := slices.DeleteFunc(slices.Clone(list), func(o Object) bool { return !o.Live() })
	closed := slices.DeleteFunc(slices.Clone(list), func(o Object) bool { return o.Live() })
	for _, hour := range spanned(list, opt) {
		from, err := s.objectsOf(ctx, hour, of(closed, hour), append(of(live, hour-hourMS), of(live, hour)...))
		if err != nil {
			return err
		}
		rows, err := s.hourRows(ctx, hour, from, opt)
		if err != nil {
			return err
		}
		for i := range rows {
			if err := each(&rows[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// objectsOf returns the objects that have an hour's rows: if it is compacted,
// those of that and the live ones that came later, else the live ones. A file is
// in the folder of its first event: its last may be of the hour after.
func (s *Store) objectsOf(ctx context.Context, hour int64, closed, live []Object) ([]Object, error) {
	if len(closed) == 0 {
		return live, nil
	}
	m, err := s.loadManifest(ctx, hour)
	if err != nil {
		return nil, err
	}
	for _, o := range live {
		if !m.has(strings.TrimPrefix(o.Key, livePrefix)) {
			closed = append(closed, o)
		}
	}
	return closed, nil
}

// spanned returns the hours that may have rows, in order.
func spanned(list []Object, opt RowsOptions) []int64 {
	var hours []int64
	for _, o := range list {
		hours = append(hours, o.Hour)
		if o.Live() {
			hours = append(hours, o.Hour+hourMS)
		}
	}
	slices.Sort(hours)
	hours = slices.Compact(hours)
	return slices.DeleteFunc(hours, func(h int64) bool {
		return opt.From > 0 && h+hourMS <= opt.From || opt.To > 0 && h >= opt.To
	})
}

func of(list []Object, hour int64) (some []Object) {
	for _, o := range list {
		if o.Hour == hour {
			some = append(some, o)
		}
	}
	return some
}

// hourRows returns the event's rows of an hour, in order and without doubles.
func (s *Store) hourRows(ctx context.Context, hour int64, from []Object, opt RowsOptions) ([]Row, error) {
	type once struct {
		session string
		seq     uint64
	}
	seen := map[once]bool{}
	var rows []Row
	slices.SortFunc(from, fileOrder)
	for _, o := range from {
		err := s.eachRow(ctx, o, opt.Temp, func(r *Row) error {
			at := r.ReceivedTime
			if string(r.Event) != opt.Event || at < max(hour, opt.From) || at >= hour+hourMS || opt.To > 0 && at >= opt.To {
				return nil
			}
			if r.HasSeq {
				key := once{string(r.Session), r.Seq}
				if seen[key] {
					return nil
				}
				seen[key] = true
			}
			rows = append(rows, cloneRow(r))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.ReceivedTime, b.ReceivedTime), bytes.Compare(a.Journal, b.Journal),
			cmp.Compare(a.File, b.File), bytes.Compare(a.Session, b.Session), cmp.Compare(a.Number, b.Number))
	})
	return rows, nil
}

// cloneRow copies what a row points to, all of it in one piece.
func cloneRow(r *Row) Row {
	c := *r
	texts := []*[]byte{&c.Event, &c.Session, &c.Name, &c.Country, &c.Region, &c.Team, &c.Segments, &c.Gateway, &c.Data, &c.Journal}
	n := 0
	for _, t := range texts {
		n += len(*t)
	}
	buf := make([]byte, 0, n)
	for _, t := range texts {
		if *t != nil {
			start := len(buf)
			buf = append(buf, *t...)
			*t = buf[start:len(buf):len(buf)]
		}
	}
	return c
}

// eachRow calls each with every row of an object, in the order in which they
// stand there.
func (s *Store) eachRow(ctx context.Context, o Object, temp string, each func(*Row) error) error {
	return s.withObject(ctx, o, temp, func(r io.ReaderAt, size int64) error {
		reader, err := openObject(r, size)
		if err != nil {
			return err
		}
		defer reader.close()
		for {
			row, err := reader.next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				err = each(row)
			}
			if err != nil {
				return err
			}
		}
	})
}

// withObject calls do with an object in a temporary file.
func (s *Store) withObject(ctx context.Context, o Object, temp string, do func(io.ReaderAt, int64) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read %s: %w", o.Key, err)
		}
	}()
	f, err := os.CreateTemp(temp, "grandstand-archive-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	call, cancel := context.WithTimeout(ctx, stepTimeout(o.Size))
	defer cancel()
	body, err := s.objects.open(call, o.Key, 0, -1)
	if err != nil {
		return err
	}
	size, err := io.Copy(f, body)
	if err = errors.Join(err, body.Close()); err != nil {
		return err
	}
	return do(f, size)
}

// Values returns the row's dimensions and its values in them: country, region
// and team, then the others by name.
func (r *Row) Values() ([]grandstand.Segment, error) {
	var list []grandstand.Segment
	for _, c := range []struct {
		dim   string
		value []byte
	}{{"country", r.Country}, {"region", r.Region}, {"team", r.Team}} {
		if c.value != nil {
			list = append(list, grandstand.Segment{Dim: c.dim, Value: string(c.value)})
		}
	}
	if r.Segments == nil {
		return list, nil
	}
	others := map[string]string{}
	if err := json.Unmarshal(r.Segments, &others); err != nil {
		return nil, grandstand.WrapError(grandstand.CodeInvalid, err, "the segments of a row are none")
	}
	for _, dim := range slices.Sorted(maps.Keys(others)) {
		list = append(list, grandstand.Segment{Dim: dim, Value: others[dim]})
	}
	return list, nil
}

// Raw returns the row as the raw event that it was, but for the order of its
// segments, which is that of Values.
func (r *Row) Raw() (grandstand.RawEvent, error) {
	list, err := r.Values()
	if err != nil {
		return grandstand.RawEvent{}, err
	}
	dims, values := make([]grandstand.Dimension, len(list)), make([]string, len(list))
	for i, s := range list {
		dims[i].Name, values[i] = s.Dim, s.Value
	}
	segs := grandstand.AppendSegments(nil, dims, values)
	return grandstand.RawEvent{
		Kind: r.Kind, Event: r.Event, Session: r.Session, Viewer: r.Viewer, Device: r.Device, Account: r.Account, Segments: segs,
		HasSeq: r.HasSeq, Seq: r.Seq, Name: r.Name, State: r.State, HasPos: r.HasPosition, Pos: r.Position,
		HasBitrate: r.HasBitrate, Bitrate: r.Bitrate, ClientAt: r.ClientTime, ReceivedAt: r.ReceivedTime, Data: r.Data,
	}, nil
}
