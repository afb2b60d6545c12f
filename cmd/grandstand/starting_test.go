package main

import (
	"bytes"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

// The first line of a log has every setting that was made, and no secret: of no
// role, and of no setting that may be added one day and is called like one.
func TestTheFirstLineHasNoSecrets(t *testing.T) {
	const canary = "canary5ecret"
	for _, role := range []string{"all", "gateway", "aggregator", "blocker", "archiver", "web", "demo"} {
		var c cli
		parser, err := newParser(&c, &file{})
		if err != nil {
			t.Fatal(err)
		}
		k, err := parser.Parse([]string{role})
		if err != nil {
			t.Fatal(err)
		}
		secrets := 0
		for _, flag := range k.Flags() {
			secret := secretName.MatchString(flag.Name)
			if flag.Target.Kind() == reflect.String && (secret || flag.Name == "redis" || flag.Name == "archive") {
				text := canary
				switch flag.Name {
				case "redis":
					text = "redis://user:" + canary + "@host:6379,other:6379"
				case "archive":
					text = "s3://bucket/prefix?endpoint=https://store&secret_key=" + canary
				}
				flag.Target.SetString(text)
				secrets++
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("starting", starting(k)...)
		line := log.String()
		if strings.Contains(line, canary) || secrets == 0 && role != "web" {
			t.Errorf("%s: %d secrets in %s", role, secrets, line)
		}
		for _, want := range []string{"role=" + role, "version=" + version} {
			if !strings.Contains(line, want) {
				t.Errorf("%s: no %s in %s", role, want, line)
			}
		}
		if role == "gateway" && !strings.Contains(line, `"redis://***@host:6379,other:6379"`) && !strings.Contains(line, `redis://***@host:6379,other:6379`) {
			t.Errorf("the address is gone with its password: %s", line)
		}
	}
}

func TestTheFirstLineIsLogged(t *testing.T) {
	beside(t)
	admin := freeAddr(t)
	p := start(t, "all", "all", "--listen", freeAddr(t), "--admin", admin, "--archive", "file:"+t.TempDir()+"/archive", "--drain-over", "1s", "--secret", testSecret).ready(admin)
	first, _, _ := strings.Cut(p.log.String(), "\n")
	if !strings.Contains(first, "msg=starting role=all") || !strings.Contains(first, "settings.drain-over=1s") || !strings.Contains(first, "settings.secret=***") {
		t.Errorf("the first line is %s", first)
	}
}
