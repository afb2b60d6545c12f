package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

// liveRules are the rules that hold now. SIGHUP reads them from the file again;
// nothing else of the file is applied before the next start.
type liveRules struct {
	now     atomic.Pointer[grandstand.Rules]
	reloads *prometheus.CounterVec
}

// addRules takes the file's rules and follows SIGHUP. Without a file the signal
// ends the process, as it does by default: a demo must not outlive its terminal.
func (n *node) addRules(f *file) {
	n.rules.now.Store(&f.rules)
	n.rules.reloads = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "grandstand", Subsystem: "rules", Name: "reloads_total",
		Help: "SIGHUPs by what came of them: changed, unchanged, or refused, when the rules in use stay.",
	}, []string{"result"})
	n.registry.MustRegister(n.rules.reloads)
	for _, result := range []string{"changed", "unchanged", "refused"} {
		n.rules.reloads.WithLabelValues(result)
	}
	if f.path == "" {
		return
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	n.run("rules", func(ctx context.Context) error {
		defer signal.Stop(hangups)
		for {
			select {
			case <-hangups:
				f = n.reload(f)
			case <-ctx.Done():
				return nil
			}
		}
	})
}

// reload reads the file f again and returns it as it is from now on.
func (n *node) reload(f *file) *file {
	next, err := readFile(f.path, f.known)
	if err != nil {
		n.rules.reloads.WithLabelValues("refused").Inc()
		n.log.Error("SIGHUP: the file is wrong, the rules in use stay", "error", err)
		return f
	}
	changed := changes(&f.rules, &next.rules)
	if len(changed) == 0 {
		n.rules.reloads.WithLabelValues("unchanged").Inc()
		n.log.Info("SIGHUP: the rules are as they were", "file", f.path)
	} else {
		n.rules.now.Store(&next.rules)
		n.rules.reloads.WithLabelValues("changed").Inc()
		n.log.Info("SIGHUP: new rules hold", "file", f.path, "changed", listed(changed))
	}
	if others := differing(f.values, next.values); len(others) > 0 {
		n.log.Warn("SIGHUP: only rules are applied, these settings wait for the next start", "settings", listed(others))
	}
	next.values = f.values // what this process runs with
	return next
}

// changes says what is other in b: "plans.premium: 2 → 3", in the order of the
// paths.
func changes(a, b *grandstand.Rules) []string {
	before, after := flatten(a), flatten(b)
	paths := maps.Clone(before)
	maps.Copy(paths, after)
	var changed []string
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		was, is := before[path], after[path]
		if was == is {
			continue
		}
		changed = append(changed, fmt.Sprintf("%s: %s → %s", path, orNone(was), orNone(is)))
	}
	return changed
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// flatten returns the values of rules by their paths.
func flatten(r *grandstand.Rules) map[string]string {
	text, err := json.Marshal(r)
	var tree map[string]any
	if err == nil {
		err = json.Unmarshal(text, &tree)
	}
	if err != nil {
		panic(err) // numbers, texts and maps of them
	}
	flat := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case nil:
		case map[string]any:
			for key, below := range v {
				walk(path+"."+key, below)
			}
		default:
			flat[path[1:]] = fmt.Sprint(v)
		}
	}
	walk("", tree)
	return flat
}

// differing returns the keys of which a and b do not hold the same, sorted.
func differing(a, b map[string]any) []string {
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	maps.DeleteFunc(keys, func(key string, _ any) bool { return reflect.DeepEqual(a[key], b[key]) })
	return slices.Sorted(maps.Keys(keys))
}

// listed joins what fits a line of the log.
func listed(all []string) string {
	const most = 20
	if n := len(all); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), n-most)
	}
	return strings.Join(all, ", ")
}
