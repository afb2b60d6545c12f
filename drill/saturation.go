package drill

import (
	"fmt"
	"math"
	"time"
)

// full is the share of its limit from which on something counts as saturated.
const full = 0.8

// meter tells how much of something a process used between two readings, as a
// share of its limit, and what that is. It is false if nothing is known.
type meter struct {
	name string
	read func(before, after reading, took time.Duration) (share float64, limit string, ok bool)
}

var meters = []meter{
	{"processor", func(before, after reading, took time.Duration) (float64, string, bool) {
		cores := after.sum("go_sched_gomaxprocs_threads")
		used := grown(before.sum("process_cpu_seconds_total"), after.sum("process_cpu_seconds_total"))
		return used / took.Seconds() / cores, fmt.Sprintf("%.0f cores", cores), cores > 0
	}},
	{"memory", func(_, after reading, _ time.Duration) (float64, string, bool) {
		limit := after.sum("go_gc_gomemlimit_bytes")
		return after.sum("process_resident_memory_bytes") / limit, fmt.Sprintf("%.0f MB (GOMEMLIMIT)", limit/1e6), limit > 0 && limit < math.MaxInt64/2
	}},
	{"open files", func(_, after reading, _ time.Duration) (float64, string, bool) {
		limit := after.sum("process_max_fds")
		return after.sum("process_open_fds") / limit, fmt.Sprintf("%.0f", limit), limit > 0
	}},
	mean("Redis, mean of a call", "grandstand_redis_call_seconds", 0.05),
	mean("gateway's tick, mean", "grandstand_gateway_tick_seconds", 1),
	mean("aggregator's tick, mean", "grandstand_aggregator_tick_seconds", 1),
	mean("journal's commit, mean", "grandstand_journal_commit_seconds", 0.1),
}

// mean meters the mean of a histogram of seconds.
func mean(name, metric string, limit float64) meter {
	return meter{name, func(before, after reading, _ time.Duration) (float64, string, bool) {
		n := grown(before.sum(metric+"_count"), after.sum(metric+"_count"))
		s := grown(before.sum(metric+"_sum"), after.sum(metric+"_sum"))
		return s / max(n, 1) / limit, time.Duration(limit * float64(time.Second)).String(), n > 0
	}}
}

// saturation says in a sentence what is saturated first, or comes nearest to it.
func saturation(list []Process) string {
	var first, nearest *Resource
	var of, by *Process
	for i := range list {
		p := &list[i]
		for k := range p.Resources {
			r := &p.Resources[k]
			if r.FullAt > 0 && (first == nil || r.FullAt < first.FullAt) {
				first, of = r, p
			}
			if nearest == nil || r.Most > nearest.Most {
				nearest, by = r, p
			}
		}
	}
	switch {
	case first != nil:
		return fmt.Sprintf("%s of %s %s: above %.0f %% of %s after %.0f s, %.0f %% at most",
			first.Name, of.Role, of.Address, 100*full, first.Limit, first.FullAt, 100*first.Most)
	case nearest != nil:
		return fmt.Sprintf("nothing; nearest is the %s of %s %s: %.0f %% of %s at most",
			nearest.Name, by.Role, by.Address, 100*nearest.Most, nearest.Limit)
	}
	return ""
}
