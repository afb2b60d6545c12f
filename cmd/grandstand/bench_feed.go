package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"grandstand"
	"grandstand/bench"
	"grandstand/redis"
)

// feed is a synthetic audience: it writes to Redis what its gateways would.
type feed struct {
	client   *redis.Client
	event    *grandstand.Event
	auds     *grandstand.Audiences
	tallier  *grandstand.Tallier
	rng      *rand.Rand
	known    uint64 // viewers who come and go
	gateways []feedGateway
}

type feedGateway struct {
	id      string
	viewers []feedViewer
}

type feedViewer struct {
	aud  *grandstand.Audience
	hash uint64
}

// The values of the dimensions: with those of the cross of team and country
// they are bench.FeedSegments.
const (
	feedCountries = 8
	feedRegions   = 148
	feedTeams     = 16
)

// feedWriters write tallies at the same time, as gateways do.
const feedWriters = 8

// feedTallies writes the tallies of an audience to Redis at each tick until ctx
// ends. At each tick one viewer of a hundred is another one of twice as many, so
// that every tally is new and most of its segments are.
func feedTallies(ctx context.Context, cfg bench.Feed) error {
	client, err := redis.Open(ctx, redis.Config{Address: cfg.Redis})
	if err != nil {
		return fmt.Errorf("open redis: %w", err)
	}
	defer client.Close()
	running, stop := context.WithCancel(ctx)
	var clock sync.WaitGroup
	clock.Go(func() { _ = client.Run(running) })
	defer clock.Wait()
	defer stop()

	f := &feed{client: client, tallier: grandstand.NewTallier(), rng: rand.New(rand.NewPCG(1, 2)), known: 2 * uint64(cfg.Viewers)}
	f.event = &grandstand.Event{Name: "bench-feed", State: grandstand.EventLive,
		Dims: []grandstand.Dimension{{Name: "country"}, {Name: "region"}, {Name: "team"}, {Name: "team+country"}}}
	if err := f.event.Normalize(); err != nil {
		return err
	}
	if err := client.PutEvent(ctx, f.event); err != nil {
		return fmt.Errorf("configure event: %w", err)
	}
	f.auds = grandstand.NewAudiences(f.event)
	for i := range cfg.Gateways {
		f.gateways = append(f.gateways, feedGateway{id: "feed-" + strconv.Itoa(i), viewers: f.crowd(cfg.Viewers / cfg.Gateways)})
	}
	for {
		tallies := f.build()
		if err := f.untilTick(ctx); err != nil {
			return err
		}
		if err := f.write(ctx, tallies); err != nil {
			return errors.Join(ctx.Err(), err)
		}
		cfg.Rounds.Add(1)
	}
}

func (f *feed) crowd(n int) []feedViewer {
	viewers := make([]feedViewer, n)
	for i := range viewers {
		country, region, team := "C"+strconv.Itoa(f.rng.IntN(feedCountries)), "R"+strconv.Itoa(f.rng.IntN(feedRegions)), "T"+strconv.Itoa(f.rng.IntN(feedTeams))
		viewers[i] = feedViewer{aud: f.auds.Intern([]string{country, region, team, team + "+" + country}), hash: f.viewer()}
	}
	return viewers
}

// viewer returns the hash of one of those who are known: the finalizer of
// SplitMix64 spreads their numbers over all hashes.
func (f *feed) viewer() uint64 {
	z := (f.rng.Uint64N(f.known) + 1) * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// build counts everybody again, after some were replaced.
func (f *feed) build() []*grandstand.ShardTally {
	shard := grandstand.ShardOf(f.event.Name)
	tallies := make([]*grandstand.ShardTally, len(f.gateways))
	for i, g := range f.gateways {
		for range len(g.viewers) / 100 {
			g.viewers[f.rng.IntN(len(g.viewers))].hash = f.viewer()
		}
		segments := f.auds.Segments()
		f.tallier.Reset(len(segments))
		for _, v := range g.viewers {
			f.tallier.Add(v.aud, v.hash)
		}
		tally := f.tallier.Build(f.event, segments, nil)
		tallies[i] = &grandstand.ShardTally{Gateway: g.id, Shard: shard, Events: []grandstand.Tally{*tally}}
	}
	return tallies
}

func (f *feed) untilTick(ctx context.Context) error {
	left := f.event.TickMS - f.client.Now()%f.event.TickMS
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(left) * time.Millisecond):
		return nil
	}
}

// write renews every gateway's lease and writes its tally.
func (f *feed) write(ctx context.Context, tallies []*grandstand.ShardTally) error {
	at := f.client.Now()
	errs := make([]error, feedWriters)
	var writers sync.WaitGroup
	for w := range feedWriters {
		writers.Go(func() {
			for i := w; i < len(tallies) && errs[w] == nil; i += feedWriters {
				t := tallies[i]
				t.At = at
				m := &grandstand.Manifest{Gateway: t.Gateway, At: at, Sessions: uint32(len(f.gateways[i].viewers)),
					Shards: []grandstand.ShardRef{{Shard: t.Shard, At: at}}}
				_, errs[w] = f.client.Renew(ctx, grandstand.Member{ID: t.Gateway, Role: grandstand.RoleGateway})
				errs[w] = errors.Join(errs[w], f.client.WriteTallies(ctx, []*grandstand.ShardTally{t}, m))
			}
		})
	}
	writers.Wait()
	return errors.Join(errs...)
}
