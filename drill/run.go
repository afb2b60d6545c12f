package drill

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"grandstand"
	"grandstand/simulator"
)

// Run carries a drill out. What the deployment does not hold is in the Verdict and
// not an error; an error with CodeInvalid or CodeForbidden is about cfg.
func Run(ctx context.Context, cfg Config) (*Verdict, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	v := &Verdict{Event: cfg.Event, Targets: cfg.Targets, Times: cfg.Peak}
	var err error
	if cfg.Targets, err = cfg.resolve(cfg.Targets); err != nil {
		return nil, err
	}
	admins, err := cfg.resolve(cfg.Admins)
	if err != nil {
		return nil, err
	}
	v.Others = audience(ctx, cfg.Targets[0], cfg.Event, simulator.Token(cfg.Secret, cfg.Event))
	crowd, err := cfg.crowd(v.Others)
	if err != nil {
		return nil, err
	}
	v.Base = cfg.Base + v.Others
	v.Peak = crowd.Viewers + v.Others

	w := newWatch(cfg.Admins, admins)
	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { w.run(watching) })
	v.Report, err = simulator.Run(ctx, crowd)
	stop()
	watcher.Wait()
	if err != nil {
		return nil, err
	}
	v.Processes = w.processes()
	v.Saturation = saturation(v.Processes)
	v.Objectives = judge(v)
	return v, nil
}

// audience returns how many sessions an event has now, 0 if that cannot be read.
func audience(ctx context.Context, target, event, token string) int {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	body, err := get(ctx, "http://"+target+"/v1/events/"+event+"/counts?dim=world", token, 1<<16)
	var counts struct {
		Dims struct{ World struct{ Sessions int } }
	}
	if err != nil || json.Unmarshal(body, &counts) != nil {
		return 0
	}
	return counts.Dims.World.Sessions
}

// get reads a URL, with a token if there is one. Its errors have CodeUnavailable.
func get(ctx context.Context, url, token string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, grandstand.WrapError(grandstand.CodeUnavailable, err, "no answer")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, grandstand.Errorf(grandstand.CodeUnavailable, "the answer is %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, limit))
}
