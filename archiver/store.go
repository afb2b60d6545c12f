package archiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"grandstand"
)

// blobs is where objects are kept. Keys are relative paths with slashes.
type blobs interface {
	// get returns nil without error if there is no such object.
	get(ctx context.Context, key string) ([]byte, error)

	// put writes an object as a whole, or not at all.
	put(ctx context.Context, key string, b []byte) error

	// list returns the objects whose keys begin with the prefix, by key.
	list(ctx context.Context, prefix string) ([]Entry, error)
}

// objects is where blobs are kept that are too large, or too precious, to be
// written at once. The same things keep both.
type objects interface {
	// create writes an object unless there is one of that name, as a whole or
	// not at all. It reports whether it did.
	create(ctx context.Context, key string, body *io.SectionReader) (bool, error)

	// stat returns an object's size, or false if there is none.
	stat(ctx context.Context, key string) (int64, bool, error)

	// open reads n bytes of an object from offset on; n < 0: to its end. The
	// error is errNoObject if there is none.
	open(ctx context.Context, key string, offset, n int64) (io.ReadCloser, error)

	// remove removes an object. One that is not there is none the less removed.
	remove(ctx context.Context, key string) error
}

var errNoObject = errors.New("there is no such object")

// Entry is an object in a listing.
type Entry struct {
	Key  string
	Size int64
}

// Store keeps checkpoints and raw events. Its methods may be called at the same time; of two
// that save the same object at once one may be lost, which the next save of the
// same event mends.
type Store struct {
	blobs   blobs
	objects objects
	url     string
	close   func()
}

// Timeout bounds every call to a Store; that of its context may be shorter.
const Timeout = 30 * time.Second

// maxObject bounds what is read of one object, in bytes: more than the sketches
// of MaxSegments segments.
const maxObject = 512 << 20

// OpenStore opens the store of a URL:
//
//	file:DIR
//	s3://BUCKET/PREFIX?endpoint=http://HOST:PORT&region=REGION
//
// The directory is created if need be. The bucket must be there; it is not
// looked at before the first call, so that a store that is away keeps nobody
// from starting. Without an endpoint it is Amazon's of the region (default
// us-east-1). The keys are GRANDSTAND_S3_ACCESS_KEY and GRANDSTAND_S3_SECRET_KEY
// of the environment, else those that AWS tools would use.
//
// Errors have CodeInvalid.
func OpenStore(ctx context.Context, rawURL string) (*Store, error) {
	if dir, ok := strings.CutPrefix(rawURL, "file:"); ok {
		if strings.HasPrefix(dir, "///") {
			dir = dir[2:]
		}
		b, err := openDir(dir)
		if err != nil {
			return nil, err
		}
		return &Store{blobs: b, objects: b, url: rawURL, close: func() {}}, nil
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "s3" {
		return nil, grandstand.Errorf(grandstand.CodeInvalid, "archive: write file:DIR or s3://BUCKET/PREFIX?endpoint=…")
	}
	b, err := openBucket(u)
	if err != nil {
		return nil, err
	}
	return &Store{blobs: b, objects: b, url: rawURL, close: b.transport.CloseIdleConnections}, nil
}

// String returns the URL that the store was opened with.
func (s *Store) String() string { return s.url }

// Close lets go of idle connections. The store must not be in use.
func (s *Store) Close() { s.close() }

// SaveCheckpoint merges cp with what is there. To save the same again, or an
// older one, changes nothing. Errors have CodeUnavailable, or CodeInvalid for an
// impossible event.
func (s *Store) SaveCheckpoint(ctx context.Context, cp *grandstand.Checkpoint) error {
	key, err := checkpointKey(cp.Event.Name)
	if err != nil {
		return err
	}
	return s.update(ctx, key, func(old []byte) ([]byte, error) {
		if old == nil {
			return grandstand.AppendCheckpoint(nil, mergeCheckpoints(cp, cp)), nil
		}
		was, err := grandstand.DecodeCheckpoint(old)
		if err != nil {
			return nil, err
		}
		return grandstand.AppendCheckpoint(nil, mergeCheckpoints(was, cp)), nil
	}, func() []byte { return grandstand.AppendCheckpoint(nil, mergeCheckpoints(cp, cp)) })
}

// LoadCheckpoint returns what is kept of an event, nil without error if there is
// nothing.
func (s *Store) LoadCheckpoint(ctx context.Context, event string) (*grandstand.Checkpoint, error) {
	key, err := checkpointKey(event)
	if err != nil {
		return nil, err
	}
	b, err := s.read(ctx, key)
	if b == nil || err != nil {
		return nil, err
	}
	cp, err := grandstand.DecodeCheckpoint(b)
	if err != nil {
		return nil, fmt.Errorf("load checkpoint of %s: %w", event, err)
	}
	return cp, nil
}

// SaveSteps adds steps to those of the event's hour, which begins at hour in
// Unix ms. Steps of the same time are kept once.
func (s *Store) SaveSteps(ctx context.Context, event string, hour int64, steps []grandstand.Step) error {
	key, err := stepsKey(event, hour)
	if err != nil || len(steps) == 0 {
		return err
	}
	return s.update(ctx, key, func(old []byte) ([]byte, error) {
		was, err := decodeSteps(old)
		if err != nil {
			return nil, err
		}
		return appendSteps(nil, mergeSteps(was, steps)), nil
	}, func() []byte { return appendSteps(nil, mergeSteps(nil, steps)) })
}

// LoadSteps returns the steps of an event's hour by time, nil if there are none.
func (s *Store) LoadSteps(ctx context.Context, event string, hour int64) ([]grandstand.Step, error) {
	key, err := stepsKey(event, hour)
	if err != nil {
		return nil, err
	}
	b, err := s.read(ctx, key)
	if err != nil {
		return nil, err
	}
	steps, err := decodeSteps(b)
	if err != nil {
		return nil, fmt.Errorf("load steps of %s: %w", event, err)
	}
	return steps, nil
}

// Events returns the names of the events that there are checkpoints of.
func (s *Store) Events(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	entries, err := s.blobs.list(ctx, checkpointPrefix)
	if err != nil {
		return nil, unavailable(err, "list checkpoints")
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(strings.TrimPrefix(e.Key, checkpointPrefix), checkpointSuffix); ok && grandstand.ValidValue(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

func (s *Store) read(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	b, err := s.blobs.get(ctx, key)
	if err != nil {
		return nil, unavailable(err, "read "+key)
	}
	return b, nil
}

// update writes what merge makes of an object, unless that is what is there. An
// object that cannot be read is put aside, and fresh is written: a broken one
// must not keep an event from being saved for ever.
func (s *Store) update(ctx context.Context, key string, merge func(old []byte) ([]byte, error), fresh func() []byte) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	old, err := s.blobs.get(ctx, key)
	if err != nil {
		return unavailable(err, "read "+key)
	}
	b, err := merge(old)
	if err != nil {
		if err := s.blobs.put(ctx, key+".unreadable", old); err != nil {
			return unavailable(err, "put aside "+key)
		}
		b = fresh()
	}
	if old != nil && bytes.Equal(b, old) {
		return nil
	}
	if err := s.blobs.put(ctx, key, b); err != nil {
		return unavailable(err, "write "+key)
	}
	return nil
}

func unavailable(err error, what string) error {
	return grandstand.WrapError(grandstand.CodeUnavailable, err, "archive: "+what)
}

const (
	checkpointPrefix = "checkpoints/event="
	checkpointSuffix = "/checkpoint"
)

func checkpointKey(event string) (string, error) {
	if !grandstand.ValidValue(event) {
		return "", grandstand.Errorf(grandstand.CodeInvalid, "archive: %q is not an event's name", event)
	}
	return checkpointPrefix + event + checkpointSuffix, nil
}

func stepsKey(event string, hour int64) (string, error) {
	if !grandstand.ValidValue(event) || hour < 0 || grandstand.HourOf(hour) != hour {
		return "", grandstand.Errorf(grandstand.CodeInvalid, "archive: %q at %d is not an event's hour", event, hour)
	}
	return checkpointPrefix + event + "/hour=" + strconv.FormatInt(hour, 10) + "/steps", nil
}
