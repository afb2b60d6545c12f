package simulator

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"

	"grandstand"
)

// The default mixes: a final of two American teams. States are weighted by the
// census of 2020, in tenths of a million (U.S. Census Bureau, apportionment
// tables); the rest of the world is a guess.
var (
	teams     = []Share{{"KC", 46}, {"SF", 42}, {"neutral", 7}, {"", 5}}
	countries = []Share{{"US", 84}, {"MX", 5}, {"CA", 5}, {"GB", 3}, {"DE", 2}, {"", 1}}
	regions   = parseMix(`
		US-CA 395 US-TX 291 US-FL 215 US-NY 202 US-PA 130 US-IL 128 US-OH 118 US-GA 107 US-NC 104 US-MI 101
		US-NJ 93 US-VA 86 US-WA 77 US-AZ 72 US-MA 70 US-TN 69 US-IN 68 US-MD 62 US-MO 62 US-WI 59 US-CO 58
		US-MN 57 US-SC 51 US-AL 50 US-LA 47 US-KY 45 US-OR 42 US-OK 40 US-CT 36 US-UT 33 US-IA 32 US-NV 31
		US-AR 30 US-MS 30 US-KS 29 US-NM 21 US-NE 20 US-ID 18 US-WV 18 US-HI 15 US-NH 14 US-ME 14 US-RI 11
		US-MT 11 US-DE 10 US-SD 9 US-ND 8 US-AK 7 US-DC 7 US-VT 6 US-WY 6
		MX-CMX 92 MX-JAL 83 MX-NLE 58 CA-ON 142 CA-QC 85 CA-BC 50 CA-AB 43 GB-ENG 565 GB-SCT 55 GB-WLS 31
		DE-NW 179 DE-BY 131 DE-BE 37`)
)

func parseMix(text string) []Share {
	fields := strings.Fields(text)
	mix := make([]Share, 0, len(fields)/2)
	for i := 0; i+1 < len(fields); i += 2 {
		var w float64
		fmt.Sscan(fields[i+1], &w)
		mix = append(mix, Share{fields[i], w})
	}
	return mix
}

// pick returns a value with the chance of its weight.
func pick(rng *rand.Rand, mix []Share) string {
	sum := 0.0
	for _, s := range mix {
		sum += s.Weight
	}
	x := rng.Float64() * sum
	for _, s := range mix {
		if x -= s.Weight; x < 0 {
			return s.Value
		}
	}
	return mix[len(mix)-1].Value
}

// person is a viewer: who it is, and what the truth knows of it.
type person struct {
	id                    string
	country, region, team string // "" is not declared
	pays                  bool   // its sessions are of an account

	lo, hi int // sessions that surely, and possibly, are watching; guarded by truth.mu
}

// people makes viewers. It belongs to the plan.
type people struct {
	rng     *rand.Rand
	prefix  string
	made    int
	teams   []Share
	nations []Share
	regions map[string][]Share // by country
	paying  float64
	gone    []*person // left, and may come back
}

func newPeople(cfg *Config, rng *rand.Rand) *people {
	p := &people{
		rng: rng, prefix: fmt.Sprintf("sim%x-", cfg.Seed),
		teams: cfg.TeamMix, nations: cfg.CountryMix, regions: map[string][]Share{},
		paying: cfg.AccountShare,
	}
	for _, s := range cfg.RegionMix {
		country, _, _ := strings.Cut(s.Value, "-")
		p.regions[country] = append(p.regions[country], s)
	}
	return p
}

// make returns a new viewer; a team of "" is drawn from the mix.
func (p *people) make(team string) *person {
	p.made++
	w := &person{id: fmt.Sprintf("%s%d", p.prefix, p.made), country: pick(p.rng, p.nations), team: team}
	if team == "" {
		w.team = pick(p.rng, p.teams)
	}
	if mix := p.regions[w.country]; w.country != "" && len(mix) > 0 {
		w.region = pick(p.rng, mix)
	}
	w.pays = p.paying > 0 && p.rng.Float64() < p.paying
	return w
}

// comeBackShare is how many of those who join have been here before.
const comeBackShare = 0.3

// next returns who joins now: somebody new or somebody who left.
func (p *people) next(team string) *person {
	if n := len(p.gone); n > 0 && team == "" && p.rng.Float64() < comeBackShare {
		i := p.rng.IntN(n)
		w := p.gone[i]
		p.gone[i] = p.gone[n-1]
		p.gone = p.gone[:n-1]
		return w
	}
	return p.make(team)
}

// left remembers somebody who may come back.
func (p *people) left(w *person) {
	if len(p.gone) < 10_000 {
		p.gone = append(p.gone, w)
		return
	}
	p.gone[p.rng.IntN(len(p.gone))] = w
}

// segments returns what the person counts in, the world first.
func (w *person) segments() []grandstand.Segment {
	or := func(v string) string {
		if v == "" {
			return grandstand.Unknown
		}
		return v
	}
	return []grandstand.Segment{
		grandstand.WorldSegment,
		{Dim: "country", Value: or(w.country)},
		{Dim: "region", Value: or(w.region)},
		{Dim: "team", Value: or(w.team)},
	}
}

// declared returns what the viewer says of itself, by dimension.
func (w *person) declared() map[string]string {
	values := map[string]string{"country": w.country, "region": w.region, "team": w.team}
	maps.DeleteFunc(values, func(_, v string) bool { return v == "" })
	return values
}
