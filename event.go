package grandstand

import (
	"encoding/json"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

// EventState is where an event is in its life.
type EventState string

// The life of an event. It goes forward only, but for a PUT that configures an
// ended event anew, which starts over.
const (
	EventScheduled EventState = "scheduled" // configured, nobody has come yet
	EventLive      EventState = "live"      // at least one viewer has joined
	EventEnded     EventState = "ended"     // sockets are closed with 4504; counts are final
)

// Dimension is one way to divide the viewers of an event.
type Dimension struct {
	// Name is [a-z][a-z0-9_]*; a cross joins the names of other dimensions of
	// the event with "+": "team+region".
	Name string `json:"name"`

	// Values are the admitted values. Empty means that values are admitted
	// first come, first served, up to Limit. Always empty for a cross.
	Values []string `json:"values,omitempty"`

	// Limit bounds the values of a free dimension. Default: MaxFreeValues, for
	// "region" MaxRegions, for a cross what MaxSegments leaves.
	Limit int `json:"limit,omitempty"`

	// Choose lets a viewer set this dimension with the message "join".
	Choose bool `json:"choose,omitempty"`
}

// parts returns the dimensions that a cross is made of.
func (d Dimension) parts() []string { return strings.Split(d.Name, string(crossSeparator)) }

// UnmarshalJSON accepts a bare name besides the object: "dims":["team"].
func (d *Dimension) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*d = Dimension{}
		return json.Unmarshal(b, &d.Name)
	}
	type plain Dimension
	return json.Unmarshal(b, (*plain)(d))
}

// Event is the configuration and the state of one live event, as
// PUT /v1/events/{event} takes it and Redis keeps it.
type Event struct {
	Name  string      `json:"event"`
	State EventState  `json:"state"`
	Dims  []Dimension `json:"dims"`

	// TickMS is the time between two boards, in whole seconds of 1,000 to
	// 10,000 ms. Default 2,000.
	TickMS int64 `json:"tick_ms"`

	// BeatMS is the interval that clients are asked to beat at, 5,000 to
	// 60,000 ms. Default 10,000.
	BeatMS int64 `json:"beat_ms"`

	// MinCohort is the least number of sessions that the public is shown a
	// segment of; smaller ones are folded into "other". Nil means the default
	// of the deployment: 10, or 0 with --auth none.
	MinCohort *int `json:"min_cohort,omitempty"`

	// Public events may be read without a token.
	Public bool `json:"public,omitempty"`

	// Rules say how many streams an account may play of this event, and what
	// else is other than in the deployment's rules. Default: nothing is.
	Rules *EventRules `json:"rules,omitempty"`

	// UpdatedAt, StartedAt and EndedAt are set by the system, in Redis ms; of
	// two configurations the one updated later holds.
	UpdatedAt int64 `json:"updated_at,omitempty"`
	StartedAt int64 `json:"started_at,omitempty"`
	EndedAt   int64 `json:"ended_at,omitempty"`
}

// Defaults and bounds of an event's times, in ms.
const (
	DefaultTickMS = 2_000
	MinTickMS     = 1_000
	MaxTickMS     = 10_000

	DefaultBeatMS = 10_000
	MinBeatMS     = 5_000
	MaxBeatMS     = 60_000
)

// DefaultDims are the dimensions of an event that names none.
func DefaultDims() []Dimension {
	return []Dimension{{Name: "country"}, {Name: "region"}, {Name: "team", Choose: true}}
}

// Normalize fills the defaults in and checks the rest. It keeps State and the
// times as they are. Its errors have CodeInvalid and say what to do.
func (e *Event) Normalize() error {
	if !ValidValue(e.Name) || e.Name == "." || e.Name == ".." { // names are parts of paths
		return Errorf(CodeInvalid, "an event's name is 1 to %d characters of A-Z a-z 0-9 . _ -, and not . or ..", MaxValueLen)
	}
	if e.State == "" {
		e.State = EventScheduled
	}
	if !slices.Contains([]EventState{EventScheduled, EventLive, EventEnded}, e.State) {
		return Errorf(CodeInvalid, "state is scheduled, live or ended")
	}
	if e.Dims == nil {
		e.Dims = DefaultDims()
	}
	if e.TickMS == 0 {
		e.TickMS = DefaultTickMS
	}
	if e.TickMS < MinTickMS || e.TickMS > MaxTickMS || e.TickMS%1000 != 0 {
		return Errorf(CodeInvalid, "tick_ms is 1000 to 10000 in whole seconds")
	}
	if e.BeatMS == 0 {
		e.BeatMS = DefaultBeatMS
	}
	if e.BeatMS < MinBeatMS || e.BeatMS > MaxBeatMS {
		return Errorf(CodeInvalid, "beat_ms is %d to %d", MinBeatMS, MaxBeatMS)
	}
	if e.MinCohort != nil && (*e.MinCohort < 0 || *e.MinCohort > 1_000_000) {
		return Errorf(CodeInvalid, "min_cohort is 0 to 1000000")
	}
	if e.Rules != nil {
		if err := e.Rules.check("rules."); err != nil {
			return err
		}
	}
	return e.normalizeDims()
}

func (e *Event) normalizeDims() error {
	if len(e.Dims) > MaxDimensions {
		return Errorf(CodeInvalid, "an event has at most %d dimensions", MaxDimensions)
	}
	plain := map[string]bool{}
	seen := map[string]bool{World: true}
	fixed := 0
	for i := range e.Dims {
		d := &e.Dims[i]
		if !validDimension(d.Name) || seen[d.Name] {
			return Errorf(CodeInvalid, "dims: %q is not a dimension's name, or it stands twice", d.Name)
		}
		seen[d.Name] = true
		if d.Limit < 0 || d.Limit > MaxSegments {
			return Errorf(CodeInvalid, "dims: the limit of %s is 1 to %d", d.Name, MaxSegments)
		}
		for _, v := range d.Values {
			if !ValidValue(v) {
				return Errorf(CodeInvalid, "dims: a value of %s is not 1 to %d characters of A-Z a-z 0-9 . _ -", d.Name, MaxValueLen)
			}
		}
		if fixed += len(d.Values); fixed > MaxSegments {
			return Errorf(CodeInvalid, "an event has at most %d segments", MaxSegments)
		}
		if IsCross(d.Name) {
			if len(d.Values) > 0 || d.Choose {
				return Errorf(CodeInvalid, "dims: the cross %s takes its values from its parts", d.Name)
			}
			for _, p := range d.parts() {
				if !plain[p] {
					return Errorf(CodeInvalid, "dims: the cross %s needs the dimension %s before it", d.Name, p)
				}
			}
			continue
		}
		plain[d.Name] = true
	}
	return nil
}

// DimLimit returns how many values of d viewers can add.
func (d Dimension) DimLimit() int {
	switch {
	case len(d.Values) > 0:
		return len(d.Values)
	case d.Limit > 0:
		return d.Limit
	case IsCross(d.Name):
		return MaxSegments
	case d.Name == "region":
		return MaxRegions
	default:
		return MaxFreeValues
	}
}

// DimNames returns world and the event's dimensions in their order, as "hello"
// lists them.
func (e *Event) DimNames() []string {
	names := make([]string, 0, len(e.Dims)+1)
	names = append(names, World)
	for _, d := range e.Dims {
		names = append(names, d.Name)
	}
	return names
}

// Tick returns the time between two boards.
func (e *Event) Tick() time.Duration { return time.Duration(e.TickMS) * time.Millisecond }

// Newer reports whether e was configured, started or ended after o.
func (e *Event) Newer(o *Event) bool { return o == nil || e.UpdatedAt > o.UpdatedAt }

// Shards is the number of parts that events are divided into. A gateway writes
// one tally, and the aggregators publish one board message, per shard. It is
// part of every key name: to change it is a migration.
const Shards = 64

// ShardOf returns the shard of an event, 0 to Shards-1: FNV-1a of its name.
func ShardOf(event string) int {
	h := fnv.New32a()
	h.Write([]byte(event))
	return int(h.Sum32() % Shards)
}
