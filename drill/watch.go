package drill

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	readEvery   = 2 * time.Second
	maxMetrics  = 4 << 20 // bytes of one reading
	readTimeout = 1500 * time.Millisecond
)

// watch reads the metrics of processes. It has one owner.
type watch struct {
	addresses []string
	began     time.Time
	seen      []observed // by address
}

// observed is a process as it was seen so far.
type observed struct {
	Process
	last   reading // nil: none yet
	lastAt time.Time
}

// newWatch returns a watch of addresses, which are told of by their names.
func newWatch(names, addresses []string) *watch {
	w := &watch{addresses: addresses, seen: make([]observed, len(addresses)), began: time.Now()}
	for i, name := range names {
		w.seen[i].Address, w.seen[i].Role = name, "process"
	}
	return w
}

// run reads until ctx ends.
func (w *watch) run(ctx context.Context) {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for {
		w.read(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// read reads all processes once, side by side.
func (w *watch) read(ctx context.Context) {
	call, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var all sync.WaitGroup
	for i, address := range w.addresses {
		all.Go(func() {
			body, err := get(call, "http://"+address+"/metrics", "", maxMetrics)
			switch {
			case err == nil:
				w.seen[i].take(parse(string(body)), time.Now(), w.began)
			case ctx.Err() == nil:
				w.seen[i].Missed++
			}
		})
	}
	all.Wait()
}

// processes returns what was seen.
func (w *watch) processes() []Process {
	list := make([]Process, len(w.seen))
	for i := range list {
		list[i] = w.seen[i].Process
	}
	return list
}

// Process is what one process did during the drill.
type Process struct {
	Address    string     `json:"address"`
	Role       string     `json:"role"`
	Read       int        `json:"read"`           // times that its metrics were read
	Missed     int        `json:"missed"`         // times that they could not be
	Resources  []Resource `json:"resources"`      // that have a limit
	ResidentMB float64    `json:"resident_mb"`    // at most
	Sessions   float64    `json:"sessions"`       // at most; of gateways, as all up to Shed
	Level      float64    `json:"overload_level"` // at most
	Overloaded float64    `json:"overloaded_s"`   // s at any level
	Shed       float64    `json:"shed_joins"`     // newcomers that were refused because of overload
	Refused    float64    `json:"refused_events"` // raw events that the journal did not take
	Violations float64    `json:"violations"`     // of invariants
}

// Resource is how much of something a process used.
type Resource struct {
	Name   string  `json:"name"`
	Most   float64 `json:"most"`              // as a share of its limit
	Limit  string  `json:"limit"`             // what 1 is
	FullAt float64 `json:"full_at,omitempty"` // s from the start when it was first full; 0: never
}

// take adds a reading of now.
func (o *observed) take(r reading, now, began time.Time) {
	before, took := o.last, now.Sub(o.lastAt)
	o.last, o.lastAt = r, now
	o.Read++
	o.Role = r.role()
	o.ResidentMB = max(o.ResidentMB, r.sum("process_resident_memory_bytes")/1e6)
	o.Sessions = max(o.Sessions, r.sum("grandstand_gateway_sessions"))
	o.Level = max(o.Level, r.sum("grandstand_gateway_overload_level"))
	if before == nil {
		return
	}
	since := func(name string) float64 { return grown(before.sum(name), r.sum(name)) }
	o.Overloaded += since("grandstand_gateway_overload_seconds_total")
	o.Shed += since("grandstand_gateway_shed_joins_total")
	o.Refused += since("grandstand_journal_refused_events_total")
	o.Violations += grown(before.violations(), r.violations())
	for _, m := range meters {
		if share, limit, ok := m.read(before, r, took); ok {
			o.use(m.name, limit, share, now.Sub(began))
		}
	}
}

// use notes the share of a resource's limit that was used up to a time.
func (o *observed) use(name, limit string, share float64, at time.Duration) {
	i := slices.IndexFunc(o.Resources, func(r Resource) bool { return r.Name == name })
	if i < 0 {
		i = len(o.Resources)
		o.Resources = append(o.Resources, Resource{Name: name})
	}
	r := &o.Resources[i]
	r.Limit, r.Most = limit, max(r.Most, share)
	if share >= full && r.FullAt == 0 {
		r.FullAt = at.Seconds()
	}
}
