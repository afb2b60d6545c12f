package drill

import (
	"math"
	"strconv"
	"strings"
)

// reading is what a process said of itself at a moment: the samples of the
// Prometheus text format, by name and labels as they stand there.
type reading map[string]float64

// parse reads the Prometheus text format (version 0.0.4). Lines that it does not
// know are left out.
func parse(text string) reading {
	r := reading{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		end := strings.IndexByte(line, ' ')
		if brace := strings.LastIndexByte(line, '}'); brace > end {
			end = brace + 1 // a label's value may have spaces
		}
		if end <= 0 || end >= len(line) {
			continue
		}
		value, _, _ := strings.Cut(strings.TrimSpace(line[end:]), " ") // a timestamp may follow
		if v, err := strconv.ParseFloat(value, 64); err == nil && !math.IsNaN(v) {
			r[line[:end]] = v
		}
	}
	return r
}

// sum returns the sum of a metric over all its labels.
func (r reading) sum(name string) (sum float64) {
	for k, v := range r {
		if k == name || strings.HasPrefix(k, name+"{") {
			sum += v
		}
	}
	return sum
}

// violations returns how many numbers that should never be were counted.
func (r reading) violations() (sum float64) {
	for k, v := range r {
		if name, _, _ := strings.Cut(k, "{"); strings.HasSuffix(name, "violations_total") {
			sum += v
		}
	}
	return sum
}

// role returns what a process is, by what it counts.
func (r reading) role() string {
	is := ""
	for _, role := range []struct{ name, metric string }{
		{"gateway", "grandstand_gateway_connections"}, {"aggregator", "grandstand_aggregator_shards"},
		{"archiver", "grandstand_archiver_"}, {"blocker", "grandstand_blocker_"},
	} {
		for k := range r {
			if strings.HasPrefix(k, role.metric) {
				if is != "" {
					return "all"
				}
				is = role.name
				break
			}
		}
	}
	if is == "" {
		return "process"
	}
	return is
}

// grown returns by how much a counter grew from one reading to a later one. One
// that was reset by a restart began at 0.
func grown(before, after float64) float64 {
	if after < before {
		return after
	}
	return after - before
}
