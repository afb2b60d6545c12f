package archiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"grandstand"
)

// RowsOptions say which rows of an event are read.
type RowsOptions struct {
	Event    string
	From, To int64  // Unix ms of ReceivedTime, To exclusive; 0: not bounded
	Temp     string // directory of objects while they are read; "": the system's

	sortBytes int // of the rows that are sorted in memory; default sortBytes
}

// Rows calls each with the rows of an event in the order of ReceivedTime, each
// (session, seq) of an hour once, until that returns an error, which it returns.
// A row is valid during the call only. Hours that are compacted are read from
// events/, others, and what came later, from live/. Whatever an hour has, it takes
// some 300 MB of memory at most, and twice the hour's rows of temporary files.
func (s *Store) Rows(ctx context.Context, opt RowsOptions, each func(*Row) error) error {
	if opt.Event == "" {
		return grandstand.Errorf(grandstand.CodeInvalid, "rows are those of an event, and none is named")
	}
	list, err := s.Objects(ctx, opt.Event)
	if err != nil {
		return err
	}
	if opt.sortBytes == 0 {
		opt.sortBytes = sortBytes
	}
	for _, hour := range spanned(list, opt) {
		if err := s.hourRows(ctx, hour, liveOf(list, hour), opt, each); err != nil {
			return err
		}
	}
	return nil
}

// liveOf returns the live objects that may have rows of an hour. A file is in the
// folder of its first event: its last may be of the hour after.
func liveOf(list []Object, hour int64) (some []Object) {
	for _, o := range list {
		if o.Live() && (o.Hour == hour || o.Hour == hour-hourMS) {
			some = append(some, o)
		}
	}
	return some
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
