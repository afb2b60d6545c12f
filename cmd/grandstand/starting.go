package main

import (
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// starting is the first line of a role's log: its version, and every setting that
// is not the default, without secrets.
func starting(k *kong.Context) []any {
	var settings []any
	for _, flag := range k.Flags() {
		if v, ok := settingText(flag); ok {
			settings = append(settings, slog.String(flag.Name, v))
		}
	}
	return []any{"role", k.Command(), "version", version, slog.Group("settings", settings...)}
}

const hidden = "***"

var (
	// secretName is what a setting is called that is a secret, or may be one.
	secretName = regexp.MustCompile(`secret|token|key|password|credential`)

	// secretPart is what else may be in an address: user and password, and
	// parameters that are called like secrets.
	userPart  = regexp.MustCompile(`//[^\s]*@`)
	queryPart = regexp.MustCompile(`(?i)([?&][^=&\s]*(?:secret|token|key|password|credential)[^=&\s]*=)[^&\s]*`)
)

// settingText returns the text of a setting that is not the default.
func settingText(flag *kong.Flag) (string, bool) {
	v := flag.Target
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.IsZero() {
		return "", false
	}
	text := fmt.Sprint(v.Interface())
	switch {
	case text == flag.Default || flag.Name == "help":
		return "", false
	case secretName.MatchString(strings.ToLower(flag.Name)):
		return hidden, true
	}
	text = userPart.ReplaceAllString(text, "//"+hidden+"@")
	return queryPart.ReplaceAllString(text, "${1}"+hidden), true
}
