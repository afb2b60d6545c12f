package bench

import "time"

// scale is how large the measurements of a Size are.
type scale struct {
	conns     int           // on one gateway
	rate      int           // connections opened per second
	idle      time.Duration // before memory is read
	settle    time.Duration // before a window
	steady    time.Duration // before a window over commands: the first refreshes come evenly, but 60 s after a session at the soonest
	window    time.Duration // over which processor time is read: whole ticks
	rounds    int           // of product and floor, one after the other; the cheapest of each counts
	payload   time.Duration // over which bytes are counted: numbers that do not move are repeated each 16 s
	joins     int           // of the join surge
	beaters   int           // viewers of the row on Redis commands
	merge     Feed
	slow      int           // of conns, those that never read
	silence   time.Duration // that they are given to be cut, after a window
	tree      int           // gateways
	treeConns int           // on each of those that are no relays
	events    int           // of two viewers
	gateways  int           // of the whole machine
	crowd     int           // on each of them
	stay      time.Duration
	checks    []int  // viewers at which the model is checked
	fits      [2]int // through which its lines are drawn: from 5,000 on beats share wake-ups, so that each costs less
}

// tick of every event that is measured, unless a row says otherwise.
const tick = 2 * time.Second

var scales = map[Size]scale{
	Small: {conns: 4_000, rate: 2_000, idle: 5 * time.Second, settle: 2 * time.Second, steady: 4 * time.Second, window: 4 * tick, rounds: 1,
		payload: 16 * time.Second, silence: 45 * time.Second, joins: 2_000, beaters: 5_000, merge: Feed{Gateways: 34, Viewers: 660_000},
		slow: 100, tree: 7, treeConns: 50, events: 500, gateways: 2, crowd: 2_000, stay: 20 * time.Second,
		checks: []int{500, 1_000, 2_000}, fits: [2]int{250, 1_500}},
	Full: {conns: 18_000, rate: 3_000, idle: time.Minute, settle: 6 * time.Second, steady: 66 * time.Second, window: 15 * tick, rounds: 2,
		payload: 64 * time.Second, silence: time.Minute, joins: 15_000, beaters: 5_000, merge: Feed{Gateways: 170, Viewers: 3_300_000},
		slow: 1_000, tree: 13, treeConns: 200, events: 10_000, gateways: 5, crowd: 18_000, stay: 5 * time.Minute,
		checks: []int{2_000, 10_000, 18_000}, fits: [2]int{5_000, 15_000}},
}

// within returns the scale that fits into processes of so many open files.
func (s scale) within(files int) scale {
	most := files - 500
	for _, n := range []*int{&s.conns, &s.joins, &s.beaters, &s.crowd, &s.events} {
		*n = min(*n, most)
	}
	return s
}
