package grandstand_test

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Lines of logs are found by their keys: whoever needs a new one says in
// docs/logs.md what it is, and whoever finds one there uses it.
func TestLogKeysAreKnown(t *testing.T) {
	doc, err := os.ReadFile("docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllSubmatch(doc, -1) {
		known[string(m[1])] = true
	}
	used := map[string]bool{}
	_, files := parseRepo(t)
	for _, f := range files {
		if f.test || strings.HasPrefix(f.dir, "bench") || f.dir == "drill" { // their log is a report of their own
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			for _, key := range logKeys(call) {
				used[key] = true
				if !known[key] {
					t.Errorf("%s logs the key %q, which docs/logs.md does not know", f.path, key)
				}
			}
			return true
		})
	}
	for key := range known {
		if !used[key] {
			t.Errorf("docs/logs.md knows the key %q, which nothing logs", key)
		}
	}
}

// logKeys returns the keys of a call that logs, as far as they are written there.
func logKeys(call *ast.CallExpr) (keys []string) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	first := 1
	switch sel.Sel.Name {
	case "Debug", "Info", "Warn", "Error", "warn":
	case "With":
		first = 0
	case "Violated":
		keys = append(keys, "invariant")
	default:
		return nil
	}
	for i, arg := range call.Args {
		if text, ok := stringOf(arg); ok && i >= first && regexp.MustCompile(`^[a-z_]+$`).MatchString(text) && isKeyAt(call, i, first) {
			keys = append(keys, text)
		}
	}
	return keys
}

// isKeyAt reports whether an argument stands where a key does: they come in pairs
// after the message, which the warn functions of packages take after the logger.
func isKeyAt(call *ast.CallExpr, i, first int) bool {
	message := -1
	if first > 0 {
		for k, arg := range call.Args {
			if _, ok := stringOf(arg); ok {
				message = k
				break
			}
		}
		if message < 0 {
			message = 0 // the message is a variable
		}
	}
	return i > message && (i-message)%2 == 1
}

func stringOf(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
