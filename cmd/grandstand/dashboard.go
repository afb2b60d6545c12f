package main

import (
	"sync"

	"grandstand"
)

// reporting is what the parts of this process say of themselves: GET /v1/cluster,
// and so the dashboard, shows it of all members. Its methods may be called at the
// same time.
type reporting struct {
	mu    sync.Mutex
	parts []func(*grandstand.Status) // guarded by mu
}

// reports adds a part. It is asked each time a lease is renewed, and must not
// block.
func (r *reporting) reports(describe func(*grandstand.Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts = append(r.parts, describe)
}

// status returns what all parts say now.
func (r *reporting) status() *grandstand.Status {
	r.mu.Lock()
	parts := r.parts // is only appended to
	r.mu.Unlock()
	s := &grandstand.Status{}
	for _, describe := range parts {
		describe(s)
	}
	return s
}
