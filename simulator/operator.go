package simulator

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// operator reads the full boards of the event like a dashboard does: the
// stream of Server-Sent Events, or, where there is none, GET counts each tick.
// It goes to the next gateway when one fails.
type operator struct {
	crowd  *crowd
	client *http.Client
}

const maxBoardBytes = 16 << 20 // 20,000 segments

func newOperator(c *crowd) *operator {
	return &operator{crowd: c, client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			for i, t := range c.targets {
				if t.host == address {
					return c.cfg.dial(ctx, i, 0)
				}
			}
			return nil, fmt.Errorf("dial %s: not a gateway of this run", address)
		},
		DisableCompression:    true,
		ResponseHeaderTimeout: dialTimeout,
	}}}
}

// run reads until ctx ends.
func (o *operator) run(ctx context.Context) {
	defer o.client.CloseIdleConnections()
	for i := 0; ctx.Err() == nil; i++ {
		base := "http://" + o.crowd.targets[i%len(o.crowd.targets)].host + "/v1/events/" + o.crowd.cfg.Event + "/counts"
		wait := 300 * time.Millisecond
		if err := o.stream(ctx, base+"/stream"); err != nil && ctx.Err() == nil {
			o.crowd.cfg.Logger.Debug("read stream of boards", "error", err)
			if o.poll(ctx, base) == nil {
				wait = o.crowd.tick()
				i-- // it answers: stay
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (o *operator) get(ctx context.Context, url, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if token := Token(o.crowd.cfg.Secret, o.crowd.cfg.Event); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := o.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, &statusError{status: res.StatusCode}
	}
	return res, nil
}

// stream reads Server-Sent Events (WHATWG HTML, section 9.2) until they end. A
// stream that says nothing for some ticks is given up.
func (o *operator) stream(ctx context.Context, url string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := o.get(ctx, url, "text/event-stream")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	silence := 4*o.crowd.tick() + 15*time.Second
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 64<<10), maxBoardBytes)
	var data []byte
	for lines.Scan() {
		watchdog.Reset(silence)
		line := lines.Bytes()
		if rest, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			data = append(append(data, bytes.TrimPrefix(rest, []byte(" "))...), '\n')
			continue
		}
		if len(line) == 0 && len(data) > 0 {
			o.take(data)
			data = data[:0]
		}
	}
	return lines.Err()
}

func (o *operator) poll(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	res, err := o.get(ctx, url, "application/json")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBoardBytes))
	if err != nil {
		return err
	}
	o.take(body)
	return nil
}

func (o *operator) take(data []byte) {
	now := time.Now()
	b, err := decodeFullBoard(data)
	if err != nil {
		o.crowd.audit.violate(checkProtocol, 0, "a full board that cannot be read: %v", err)
		return
	}
	if b.At > 0 { // before the first board there is nothing to say
		o.crowd.audit.board(b, now)
	}
}
