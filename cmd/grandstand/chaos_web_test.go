//go:build chaos

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"sync"
	"time"
)

// visits are of somebody who opens a page and a badge every second.
type visits struct {
	stop func()

	mu   sync.Mutex
	made []visit // guarded by mu
}

type visit struct {
	at, to time.Time
	err    error
}

// visitWeb begins to visit the role web.
func (s *stand) visitWeb() *visits {
	v := &visits{}
	life, cancel := context.WithCancel(context.Background())
	var visitor sync.WaitGroup
	visitor.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-life.Done():
				return
			case at := <-tick.C:
				err := visitPage(s.web.url+"/", `<title>`)
				if err == nil {
					err = visitPage(s.web.url+"/badge/final.svg", `>[^<]*[0-9][^<]*</text>`)
				}
				v.mu.Lock()
				v.made = append(v.made, visit{at, time.Now(), err})
				v.mu.Unlock()
			}
		}
	})
	v.stop = sync.OnceFunc(func() { cancel(); visitor.Wait() })
	s.t.Cleanup(v.stop)
	return v
}

// visitPage returns nil if the page at a URL has what the regular expression says.
func visitPage(url, has string) error {
	client := http.Client{Timeout: 3 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !regexp.MustCompile(has).Match(body)) {
		err = fmt.Errorf("%s: %d %s", url, resp.StatusCode, tail(string(body), 300))
	}
	return err
}

// judge promises, once they are stopped, that outside of heal windows every visit found what it came for.
func (v *visits) judge(b *book, list []struck) {
	n, failed := 0, 0
	for _, one := range v.made {
		if one.at.Before(list[0].from) || heals(list, one.at) || heals(list, one.to) {
			continue
		}
		n++
		if one.err != nil {
			failed++
			b.t.Errorf("%s: %v", one.at.Format("15:04:05"), one.err)
		}
	}
	b.promise(n > 0 && failed == 0, "pages and badges of the role web outside of heal windows: %d asked for, %d without a page or a number", n, failed)
}
