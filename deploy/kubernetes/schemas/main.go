// Command schemas makes of the API description of Kubernetes, which is in its Go
// module, the JSON schemas that kubeconform reads: so manifests are checked
// against a pinned version wherever modules can be had.
//
// In: the path of swagger.json (OpenAPI 2.0), and a directory.
//
// Out: one strict schema for each kind in the directory, named as kubeconform
// looks for them: deployment-apps-v1.json.
package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
)

type schema = map[string]any

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "Usage: schemas SWAGGER.json DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func write(swagger, dir string) error {
	text, err := os.ReadFile(swagger)
	if err != nil {
		return err
	}
	var api struct{ Definitions map[string]schema }
	if err := json.Unmarshal(text, &api); err != nil {
		return fmt.Errorf("read %s: %w", swagger, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, s := range api.Definitions {
		tighten(name, s)
	}
	for _, s := range api.Definitions {
		kinds, _ := s["x-kubernetes-group-version-kind"].([]any)
		for _, k := range kinds {
			kind := k.(schema)
			needed := map[string]schema{}
			collect(s, api.Definitions, needed)
			whole := maps.Clone(s)
			whole["definitions"] = needed
			text, err := json.Marshal(whole)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, fileName(kind)), text, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// tighten makes a definition say what the API server would accept: no field that
// is not there, and the two types whose JSON is not what they are declared as.
func tighten(name string, s schema) {
	switch {
	case strings.HasSuffix(name, ".IntOrString"):
		delete(s, "type")
		s["oneOf"] = []schema{{"type": "string"}, {"type": "integer"}}
	case strings.HasSuffix(name, ".resource.Quantity"):
		delete(s, "type")
		s["oneOf"] = []schema{{"type": "string"}, {"type": "number"}}
	case s["properties"] != nil && s["additionalProperties"] == nil:
		s["additionalProperties"] = false
	}
	delete(s, "format") // int-or-string is none of JSON schema's
}

// collect adds what a schema refers to, and what that does.
func collect(v any, all, found map[string]schema) {
	switch v := v.(type) {
	case schema:
		if ref, is := v["$ref"].(string); is {
			if name := path.Base(ref); found[name] == nil {
				found[name] = all[name]
				collect(all[name], all, found)
			}
		}
		for _, below := range v {
			collect(below, all, found)
		}
	case []any:
		for _, below := range v {
			collect(below, all, found)
		}
	}
}

// fileName is {{.ResourceKind}}{{.KindSuffix}}.json of kubeconform.
func fileName(kind schema) string {
	name := fmt.Sprint(kind["kind"])
	if group, _, _ := strings.Cut(fmt.Sprint(kind["group"]), "."); group != "" {
		name += "-" + group
	}
	return strings.ToLower(fmt.Sprintf("%s-%s.json", name, kind["version"]))
}
