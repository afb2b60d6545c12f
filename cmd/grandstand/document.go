package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"grandstand"
)

// document is a YAML file that knows on which line it says what.
type document struct {
	path    string
	root    *ast.MappingNode // nil: the file is empty
	values  map[string]any
	anchors map[string]ast.Node
	lines   map[string]int // by path, such as "rules.plans.premium" or "events[0].dims"
}

// parseDocument reads the text of the file at path.
func parseDocument(path string, text []byte) (*document, error) {
	d := &document{path: path, anchors: map[string]ast.Node{}, lines: map[string]int{}}
	f, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, d.explain(err)
	}
	if len(f.Docs) > 1 {
		return nil, d.errorf(f.Docs[1].Start.Position.Line, "a second document: all settings stand in one")
	}
	if len(f.Docs) == 0 || f.Docs[0].Body == nil {
		return d, nil
	}
	body := f.Docs[0].Body
	if d.root, _ = body.(*ast.MappingNode); d.root == nil {
		return nil, d.errorf(line(body), "settings are names with values: listen: 127.0.0.1:8080")
	}
	if err := yaml.Unmarshal(text, &d.values); err != nil {
		return nil, d.explain(err)
	}
	ast.Walk(d, d.root)
	for _, v := range d.root.Values {
		d.lines[keyOf(v)] = line(v.Key)
	}
	return d, nil
}

// Visit notes anchors. It implements ast.Visitor.
func (d *document) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok {
		d.anchors[a.Name.GetToken().Value] = a.Value
	}
	return d
}

func line(n ast.Node) int { return n.GetToken().Position.Line }

func keyOf(v *ast.MappingValueNode) string { return v.Key.GetToken().Value }

func (d *document) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", d.path, line, fmt.Errorf(format, args...))
}

// explain returns an error of the YAML library in one line.
func (d *document) explain(err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		return d.errorf(at.GetToken().Position.Line, "%s", at.GetMessage())
	}
	return fmt.Errorf("%s: %w", d.path, err)
}

// blame returns err, which begins with a path below one that stands in the
// file, with the line of that path. It takes the line of section if there is no
// other.
func (d *document) blame(section string, err error) error {
	message := grandstand.MessageOf(err)
	longest := ""
	for path := range d.lines {
		below, ok := strings.CutPrefix(path, section+".")
		rest, starts := strings.CutPrefix(message, below)
		if ok && starts && len(path) > len(longest) && rest != "" && strings.ContainsRune(":. ", rune(rest[0])) {
			longest = path
		}
	}
	if longest == "" {
		longest = section
	}
	separator := "."
	if below, _, _ := strings.Cut(message, " "); !strings.HasSuffix(below, ":") {
		separator = ": " // the message is a sentence, not a path and a sentence
	}
	return d.errorf(d.lines[longest], "%s%s%s", section, separator, message)
}

// keys returns the top-level keys, in their order.
func (d *document) keys() []string {
	if d.root == nil {
		return nil
	}
	keys := make([]string, len(d.root.Values))
	for i, v := range d.root.Values {
		keys[i] = keyOf(v)
	}
	return keys
}

// section decodes what stands under a top-level key into v, which is a pointer
// to what the JSON of an API decodes into, and is as strict. It does nothing if
// the key is not there.
func (d *document) section(key string, v any) error {
	node := d.value(key)
	if node == nil {
		return nil
	}
	if err := d.check(key, node, reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	text, err := yaml.MarshalWithOptions(d.values[key], yaml.JSON())
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		return d.errorf(d.lines[key], "%s: %w", key, err)
	}
	return nil
}

// value returns what stands under a top-level key, nil if nothing does.
func (d *document) value(key string) ast.Node {
	if d.root == nil {
		return nil
	}
	for _, v := range d.root.Values {
		if keyOf(v) == key {
			return v.Value
		}
	}
	return nil
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// check notes the lines of node and all below it, and returns an error if it
// cannot be a value of the type.
func (d *document) check(path string, node ast.Node, t reflect.Type) error {
	at := line(node) // an alias is blamed where it stands
	node, err := d.resolve(path, node)
	if err != nil {
		return err
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	wrong := func(format string, args ...any) error {
		return d.errorf(at, "%s: %s", path, fmt.Sprintf(format, args...))
	}
	if _, ok := node.(*ast.StringNode); ok && reflect.PointerTo(t).Implements(unmarshaler) {
		return nil // a short form: its name alone
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		if _, ok := node.(*ast.NullNode); ok {
			return nil // all below it may be commented out
		}
		m, ok := node.(*ast.MappingNode)
		if !ok {
			return wrong("names with values are needed (name: value)")
		}
		return d.checkMapping(path, m, t)
	case reflect.Slice:
		if _, ok := node.(*ast.NullNode); ok {
			return nil
		}
		list, ok := node.(*ast.SequenceNode)
		if !ok {
			return wrong("a list is needed")
		}
		for i, n := range list.Values {
			entry := fmt.Sprintf("%s[%d]", path, i)
			d.lines[entry] = line(n)
			if err := d.check(entry, n, t.Elem()); err != nil {
				return err
			}
		}
	case reflect.Int, reflect.Int64:
		n, ok := node.(*ast.IntegerNode)
		if u, large := integer(n); !ok || large && u > math.MaxInt64 {
			return wrong("a whole number is needed")
		}
	case reflect.Bool:
		if _, ok := node.(*ast.BoolNode); !ok {
			return wrong("say true or false")
		}
	case reflect.String:
		switch node.(type) {
		case *ast.StringNode, *ast.LiteralNode:
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
			return wrong("text is needed: write %s in quotes", node.GetToken().Value)
		default:
			return wrong("text is needed")
		}
	default:
		panic("no such type in a file: " + t.String())
	}
	return nil
}

func integer(n *ast.IntegerNode) (u uint64, ok bool) {
	if n == nil {
		return 0, false
	}
	u, ok = n.Value.(uint64)
	return u, ok
}

// resolve returns what an anchor or an alias stands for.
func (d *document) resolve(path string, node ast.Node) (ast.Node, error) {
	for range 8 { // an alias of an alias
		switch n := node.(type) {
		case *ast.AnchorNode:
			node = n.Value
		case *ast.AliasNode:
			node = d.anchors[n.Value.GetToken().Value]
			if node == nil {
				return nil, d.errorf(line(n), "%s: there is no anchor &%s", path, n.Value.GetToken().Value)
			}
		case *ast.TagNode:
			return nil, d.errorf(line(n), "%s: tags have no meaning here", path)
		default:
			return node, nil
		}
	}
	return nil, d.errorf(line(node), "%s: an alias of itself", path)
}

// checkMapping is check of a struct or a map.
func (d *document) checkMapping(path string, m *ast.MappingNode, t reflect.Type) error {
	for _, v := range m.Values {
		key := keyOf(v)
		at := path + "." + key
		if v.Key.IsMergeKey() {
			return d.errorf(line(v.Key), "%s: merge keys have no meaning here", path)
		}
		d.lines[at] = line(v.Key)
		of := t
		if t.Kind() == reflect.Map {
			of = t.Elem()
		} else if f, ok := field(t, key); ok {
			of = f
		} else {
			return d.errorf(line(v.Key), "%s: there is no such setting", at)
		}
		if err := d.check(at, v.Value, of); err != nil {
			return err
		}
	}
	return nil
}

// field returns the type of the field that JSON calls name.
func field(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name {
			return f.Type, true
		}
	}
	return nil, false
}
