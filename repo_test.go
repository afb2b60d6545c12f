package grandstand_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The limits on the tail: what separates a code base that can be read from one
// that cannot is not its median function but its worst.
const (
	maxFileLines        = 500
	maxFuncLines        = 80
	maxParams           = 5
	maxInterfaceMethods = 5
)

// arrows says which packages of ours a package may import. Stages import only
// the root; only cmd joins stages. A test may use the rigs as well.
var arrows = map[string][]string{
	"":                   {},
	"aggregator":         {""},
	"archiver":           {""},
	"bench":              {""},
	"blocker":            {""},
	"drill":              {"", "simulator"}, // no stage: it judges what a crowd saw
	"fanout":             {""},
	"gateway":            {"", "gateway/journal"},
	"gateway/journal":    {""},
	"redis":              {""},
	"simulator":          {""},
	"web":                {""},
	"web/pitch":          {""},
	"cmd/grandstand":     {"", "aggregator", "archiver", "bench", "blocker", "drill", "fanout", "gateway", "gateway/journal", "redis", "simulator", "web", "web/pitch"},
	"redis/redistest":    {},
	"archiver/miniotest": {},
	"web/chromiumtest":   {},

	"deploy/kubernetes/schemas": {}, // a tool of make manifests
	"deploy/prometheus":         {}, // tests of rules, alerts and boards
}

// rigs are the packages that only tests import: they start real servers and browsers.
var rigs = []string{"redis/redistest", "archiver/miniotest", "web/chromiumtest"}

// owners says which files may import a library. A path that ends in a slash is
// a folder.
var owners = map[string][]string{
	"github.com/redis/rueidis":            {"redis/"},
	"github.com/alicebob/miniredis":       {"redis/"},
	"github.com/axiomhq/hyperloglog":      {"sketch.go"},
	"github.com/minio/minio-go":           {"archiver/"},
	"github.com/parquet-go/parquet-go":    {"archiver/"},
	"github.com/coder/websocket":          {"fanout/", "gateway/", "simulator/"}, // fanout: the feed between gateways
	"github.com/golang-jwt/jwt":           {"gateway/", "simulator/"},
	"github.com/MicahParks/keyfunc":       {"gateway/"},
	"github.com/alecthomas/kong":          {"cmd/grandstand/"},
	"github.com/goccy/go-yaml":            {"cmd/grandstand/"},
	"go.opentelemetry.io/otel":            {"archiver/", "cmd/grandstand/", "gateway/"},
	"go.opentelemetry.io/otel/sdk":        {"cmd/grandstand/"}, // stages know no more than a trace.Tracer
	"go.opentelemetry.io/otel/exporters":  {"cmd/grandstand/"},
	"github.com/prometheus/client_golang": {"aggregator/", "archiver/", "blocker/", "cmd/grandstand/", "fanout/", "gateway/", "redis/", "simulator/"},
}

type sourceFile struct {
	path string // slash separated, from the root
	dir  string
	test bool
	ast  *ast.File
	text []byte
}

func TestArrowsPointInwards(t *testing.T) {
	_, files := parseRepo(t)
	for _, f := range files {
		allowed, known := arrows[f.dir]
		if !known {
			t.Errorf("%s: the folder %q is not in the table of arrows: give it a place", f.path, f.dir)
			continue
		}
		for _, imp := range f.ast.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			ours, ok := strings.CutPrefix(path, "grandstand")
			if !ok {
				continue
			}
			ours = strings.TrimPrefix(ours, "/")
			if slices.Contains(allowed, ours) || f.test && (ours == f.dir || ours == "" || slices.Contains(rigs, ours)) {
				continue
			}
			t.Errorf("%s imports %s: stages import only the root, only cmd joins stages", f.path, path)
		}
	}
}

func TestLibrariesHaveOwners(t *testing.T) {
	_, files := parseRepo(t)
	for _, f := range files {
		if f.test {
			continue // a test may talk to anything from outside
		}
		for _, imp := range f.ast.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			for library, where := range owners {
				if path != library && !strings.HasPrefix(path, library+"/") {
					continue
				}
				if !slices.ContainsFunc(where, func(w string) bool {
					return f.path == w || strings.HasSuffix(w, "/") && strings.HasPrefix(f.path, w)
				}) {
					t.Errorf("%s imports %s, which belongs to %v", f.path, path, where)
				}
			}
		}
	}
}

func TestPackagesSayWhatComesInAndGoesOut(t *testing.T) {
	_, files := parseRepo(t)
	docs := map[string]string{}
	for _, f := range files {
		if !f.test {
			docs[f.dir] += f.ast.Doc.Text()
		}
	}
	for dir, doc := range docs {
		if doc == "" {
			t.Errorf("package %q has no doc comment", dir)
		} else if !strings.Contains(doc, "In:") || !strings.Contains(doc, "Out:") {
			t.Errorf("package %q: its doc needs an In: and an Out: line", dir)
		}
	}
}

func TestTheTailIsShort(t *testing.T) {
	fset, files := parseRepo(t)
	for _, f := range files {
		if f.test {
			continue
		}
		if n := bytes.Count(f.text, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines, the limit is %d", f.path, n, maxFileLines)
		}
		wiring := f.dir == "cmd/grandstand"
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				where := f.path + ": " + n.Name.Name
				lines := fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1
				if lines > maxFuncLines && !wiring {
					t.Errorf("%s has %d lines, the limit is %d", where, lines, maxFuncLines)
				}
				if p := n.Type.Params.NumFields(); p > maxParams {
					t.Errorf("%s has %d parameters, the limit is %d", where, p, maxParams)
				}
			case *ast.TypeSpec:
				if i, ok := n.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxInterfaceMethods {
					t.Errorf("%s: interface %s has %d methods, the limit is %d", f.path, n.Name.Name, i.Methods.NumFields(), maxInterfaceMethods)
				}
			}
			return true
		})
	}
}

func parseRepo(t *testing.T) (*token.FileSet, []sourceFile) {
	t.Helper()
	fset := token.NewFileSet()
	var files []sourceFile
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "data" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		if dir == "." {
			dir = ""
		}
		files = append(files, sourceFile{path: filepath.ToSlash(path), dir: dir, test: strings.HasSuffix(name, "_test.go"), ast: parsed, text: text})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found only %d Go files: is the test run in the root folder?", len(files))
	}
	return fset, files
}
