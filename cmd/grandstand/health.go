package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// healthPatience is less than what container runtimes give a check.
const healthPatience = 2 * time.Second

// healthCmd is the health check of an image that has no shell and no curl.
type healthCmd struct {
	URL string `arg:"" optional:"" help:"Address to ask." default:"http://127.0.0.1:9090/readyz"`
}

// Run asks a process of this machine whether it can do its work. The error says
// what it answered.
func (c *healthCmd) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return wrongUsef("health: %w", err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what there is of it
	return fmt.Errorf("%s answers %s: %s", c.URL, resp.Status, strings.TrimSpace(string(said)))
}
