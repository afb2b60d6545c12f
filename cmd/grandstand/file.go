package main

import (
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"grandstand"
)

// file is the YAML file of --config. Keys are the flags' names, and "events"
// and "rules" besides.
type file struct {
	path   string          // "": there is none
	known  map[string]bool // the flags' names
	values map[string]any  // all but the rules
	events []*grandstand.Event
	rules  grandstand.Rules
	shown  []any // of all settings, for the first line of the log
}

// addFile makes the YAML file of --config the last source of settings: flags
// and environment variables come before it. Unknown keys are errors, so that a
// typing mistake is no silent default.
func addFile(k *kong.Context, f *file) error {
	path := ""
	for _, p := range k.Path {
		for _, flag := range p.Flags {
			if flag.Name == "config" {
				path, _ = k.FlagValue(flag).(string)
			}
		}
	}
	if path == "" {
		path = os.Getenv("GRANDSTAND_CONFIG")
	}
	if path == "" {
		return nil
	}
	read, err := readFile(path, settingNames(k))
	if err != nil {
		return fmt.Errorf("read --config: %w", err)
	}
	*f = *read
	k.AddResolver(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		for _, env := range flag.Envs {
			if os.Getenv(env) != "" {
				return nil, nil
			}
		}
		for name, v := range f.values {
			if flagName(name) == flag.Name {
				return resolved(v), nil
			}
		}
		return nil, nil
	}))
	return nil
}

func flagName(key string) string { return strings.ReplaceAll(key, "_", "-") }

// settingNames returns the names of all flags of all sub-commands: they share
// the file.
func settingNames(k *kong.Context) map[string]bool {
	known := map[string]bool{}
	for _, group := range k.Model.AllFlags(true) {
		for _, f := range group {
			known[f.Name] = true
		}
	}
	for _, node := range k.Model.Leaves(false) {
		for _, f := range node.Flags {
			known[f.Name] = true
		}
	}
	return known
}

// readFile reads and checks a file. Its errors begin with the file's name and,
// but for a file that cannot be read, with the line of what is wrong.
func readFile(path string, known map[string]bool) (*file, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d, err := parseDocument(path, text)
	if err != nil {
		return nil, err
	}
	for _, name := range d.keys() {
		if name != "events" && name != "rules" && !known[flagName(name)] {
			return nil, d.errorf(d.lines[name], "there is no setting %q", name)
		}
	}
	f := &file{path: path, known: known, values: maps.Clone(d.values)}
	delete(f.values, "rules")
	if err := f.readRules(d); err != nil {
		return nil, err
	}
	return f, f.readEvents(d)
}

func (f *file) readRules(d *document) error {
	if err := d.section("rules", &f.rules); err != nil {
		return err
	}
	if err := f.rules.Normalize(); err != nil {
		return d.blame("rules", err)
	}
	return nil
}

func (f *file) readEvents(d *document) error {
	if err := d.section("events", &f.events); err != nil {
		return err
	}
	named := map[string]bool{}
	for i, e := range f.events {
		at := fmt.Sprintf("events[%d]", i)
		if e == nil {
			return d.errorf(d.lines[at], "%s: the entry is empty", at)
		}
		if err := e.Normalize(); err != nil {
			return d.blame(at, err)
		}
		if named[e.Name] {
			return d.errorf(d.lines[at], "%s: the event %s stands twice", at, e.Name)
		}
		named[e.Name] = true
	}
	return nil
}

// resolved turns a YAML value into what kong parses.
func resolved(v any) any {
	switch v := v.(type) {
	case []any:
		parts := make([]string, len(v))
		for i, p := range v {
			parts[i] = fmt.Sprint(p)
		}
		return strings.Join(parts, ",")
	default:
		return fmt.Sprint(v)
	}
}
