package archiver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"grandstand"
)

// compactedPrefix is of the manifests of hours.
const compactedPrefix = "compacted/"

// manifest says what the objects of an hour are made of. It is written after
// them: a live object that is named here is in them, and was read back.
type manifest struct {
	Version int              `json:"version"`
	Hour    string           `json:"hour"` // RFC 3339
	Inputs  []manifestInput  `json:"inputs"`
	Events  []*manifestEvent `json:"events"` // by name

	tag string // of the object that it was read from; "": there was none
}

// manifestInput is a live object that is in the hour's objects.
type manifestInput struct {
	Object string `json:"object"` // without live/

	// Hours in which it has rows, in Unix ms; none: only the one in whose folder
	// it is.
	Hours []int64 `json:"hours,omitempty"`
}

// manifestEvent is what there is of an event.
type manifestEvent struct {
	Event string         `json:"event"`
	Parts []manifestPart `json:"parts"`

	// Before says what the hour before was when the doubles of it were left out.
	Before string `json:"before,omitempty"`
}

type manifestPart struct {
	Rows   uint64 `json:"rows"`
	Digest string `json:"digest"`
	Bytes  int64  `json:"bytes"`
}

const manifestVersion = 1

func hourKey(hour int64) string {
	return time.UnixMilli(hour).UTC().Format(hourLayout)
}

func manifestKey(hour int64) string {
	return compactedPrefix + strings.TrimSuffix(hourKey(hour), "/") + ".json"
}

// eventFolder returns the folder of an event's objects of an hour. Gateways take
// no event whose name is not one; what a journal holds nevertheless is escaped,
// as Hive does.
func eventFolder(event string, hour int64) string {
	if !grandstand.ValidValue(event) {
		if event = url.QueryEscape(event); event == "" {
			event = "__HIVE_DEFAULT_PARTITION__"
		}
	}
	return eventsPrefix + "event=" + event + "/" + hourKey(hour)
}

func partKey(event string, hour int64, part int) string {
	return fmt.Sprintf("%spart-%05d%s", eventFolder(event, hour), part, parquetSuffix)
}

// floorHour returns the hour of a time, also of one before 1970.
func floorHour(at int64) int64 {
	if h := at % hourMS; h < 0 {
		return at - h - hourMS
	}
	return at - at%hourMS
}

// manifests are those of a run, each read once.
type manifests struct {
	s     *Store
	hours map[int64]*manifest
}

func newManifests(s *Store) *manifests { return &manifests{s: s, hours: map[int64]*manifest{}} }

func (m *manifests) get(ctx context.Context, hour int64) (known *manifest, err error) {
	if known = m.hours[hour]; known == nil {
		if known, err = m.s.loadManifest(ctx, hour); err == nil {
			m.hours[hour] = known
		}
	}
	return known, err
}

// forget has hours read again.
func (m *manifests) forget(hours ...int64) {
	for _, h := range hours {
		delete(m.hours, h)
	}
}

// loadManifest returns the manifest of an hour, empty if there is none.
func (s *Store) loadManifest(ctx context.Context, hour int64) (*manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	key := manifestKey(hour)
	m := &manifest{Version: manifestVersion, Hour: time.UnixMilli(hour).UTC().Format(time.RFC3339)}
	sw, err := s.switcher()
	if err != nil {
		return nil, err
	}
	tag, _, err := sw.tag(ctx, key) // before it is read: what comes between is noticed
	if err != nil {
		return nil, unavailable(err, "look for "+key)
	}
	if tag == "" {
		return m, nil
	}
	b, err := s.blobs.get(ctx, key)
	if err != nil {
		return nil, unavailable(err, "read "+key)
	}
	if b == nil {
		return m, nil
	}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, grandstand.WrapError(grandstand.CodeInvalid, err, "read "+key)
	}
	if m.Version != manifestVersion {
		return nil, grandstand.Errorf(grandstand.CodeConflict, "%s: version %d is not known here", key, m.Version)
	}
	m.tag = tag
	return m, nil
}

func (s *Store) switcher() (switcher, error) {
	sw, ok := s.objects.(switcher)
	if !ok {
		return nil, grandstand.Errorf(grandstand.CodeInvalid, "the store cannot replace objects")
	}
	return sw, nil
}

// saveManifest replaces the manifest if it is still the one that was read. It
// reports whether it is there now.
func (s *Store) saveManifest(ctx context.Context, hour int64, m *manifest) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	b, err := json.Marshal(m)
	if err != nil {
		return false, err
	}
	sw, err := s.switcher()
	if err != nil {
		return false, err
	}
	key := manifestKey(hour)
	done, err := sw.replace(ctx, key, m.tag, io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))))
	if err != nil {
		return false, unavailable(err, "write "+key)
	}
	back, err := s.blobs.get(ctx, key)
	if err != nil {
		return false, unavailable(err, "read "+key)
	}
	// If ours came to be there though the answer said no, it was sent twice.
	if done && !bytes.Equal(b, back) {
		return false, nil
	}
	return bytes.Equal(b, back), nil
}

func (m *manifest) event(name string) (int, bool) {
	return slices.BinarySearchFunc(m.Events, name, func(e *manifestEvent, name string) int { return strings.Compare(e.Event, name) })
}

// content identifies what there is of an event, "" if there is nothing.
func (m *manifest) content(event string) string {
	i, ok := m.event(event)
	if !ok {
		return ""
	}
	return contentOf(m.Events[i].Parts)
}

func contentOf(parts []manifestPart) string {
	var list []string
	for _, p := range parts {
		list = append(list, p.Digest+"/"+utoa(p.Rows))
	}
	return strings.Join(list, " ")
}

func (m *manifest) put(e *manifestEvent) {
	i, ok := m.event(e.Event)
	switch {
	case len(e.Parts) == 0:
		if ok {
			m.Events = slices.Delete(m.Events, i, i+1)
		}
	case ok:
		m.Events[i] = e
	default:
		m.Events = slices.Insert(m.Events, i, e)
	}
}

// input returns the input of an object, nil if it is none.
func (m *manifest) input(object string) *manifestInput {
	i, ok := slices.BinarySearchFunc(m.Inputs, object, func(in manifestInput, object string) int { return strings.Compare(in.Object, object) })
	if !ok {
		return nil
	}
	return &m.Inputs[i]
}

func (m *manifest) has(object string) bool { return m.input(object) != nil }

// addInputs adds inputs that are not there yet.
func (m *manifest) addInputs(inputs []input) {
	for _, in := range inputs {
		m.Inputs = append(m.Inputs, manifestInput{Object: in.object(), Hours: in.stored()})
	}
	slices.SortFunc(m.Inputs, func(a, b manifestInput) int { return strings.Compare(a.Object, b.Object) })
}

// partMeta is what an object of a closed hour says of itself, as JSON in its
// footer. It is a function of the rows.
type partMeta struct {
	Version int    `json:"version"` // metadataVersion
	Event   string `json:"event"`
	Hour    int64  `json:"hour"` // Unix ms
	Part    int    `json:"part"`

	// The part has the sessions from From on, up to but without To, or to the
	// end if it is the last one. This never changes once the part is there.
	From string `json:"from"`
	To   string `json:"to"`
	Last bool   `json:"last"`

	Rows        uint64 `json:"rows"`
	Digest      string `json:"digest"` // of the rows (rowDigest)
	MinReceived int64  `json:"min_received,omitempty"`
	MaxReceived int64  `json:"max_received,omitempty"`
}

func (m *partMeta) encode() string {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // it has nothing that could fail
	}
	return string(b)
}

// partMetaOf reads the metadata of an object of a closed hour.
func partMetaOf(o *objectReader) (*partMeta, error) {
	text, _ := o.file.Lookup(metadataKey)
	var m partMeta
	if err := json.Unmarshal([]byte(text), &m); err != nil || m.Version != metadataVersion || o.Meta.Journal != "" {
		return nil, errForeign
	}
	return &m, nil
}
