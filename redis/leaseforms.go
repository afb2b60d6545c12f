package redis

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"grandstand"
)

// This file has the forms of an account's state, of the arguments of its
// scripts and of their replies; lua/leases/state.lua describes the state.

const upperHex = "0123456789ABCDEF"

// escape writes a field: | separates them, and a line ends one.
func escape(s string) string {
	for i := range len(s) {
		if special(s[i]) {
			return escapeAll(s)
		}
	}
	return s
}

func special(c byte) bool { return c < ' ' || c == '|' || c == '%' || c == 0x7f }

func escapeAll(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; special(c) {
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func unescape(s string) (string, error) {
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s, nil
	}
	b := []byte(s[:i])
	for ; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", strconv.ErrSyntax
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", err
		}
		b = append(b, byte(c))
		i += 2
	}
	return string(b), nil
}

// addressField writes a network; it is empty if it is not known.
func addressField(k grandstand.Key) string {
	if k.IsZero() {
		return ""
	}
	return k.Text()
}

// askCall writes an ask as the script takes it.
func askCall(a *grandstand.Ask) call {
	name := a.Name
	if len(name) > grandstand.MaxDeviceName {
		name = grandstand.CleanDeviceName(name)
	}
	line := "|L|" + a.Device.Text() + "|" + escape(a.Session) + "|" + escape(a.Member) + "|" + addressField(a.Address) + "|" +
		escape(a.Event) + "|" + escape(name) + "\n"
	limit, household := quickTerms(&a.Terms)
	args := make([]string, 5, 5+len(a.Terminate))
	args[0], args[1], args[2], args[3], args[4] = line, strconv.FormatInt(a.LeaseMS, 10), strconv.Itoa(limit), strconv.Itoa(household), askRest(a)
	for _, ref := range a.Terminate[:min(len(a.Terminate), grandstand.MaxDevices)] {
		args = append(args, ref.Device.Text()+"|"+escape(ref.Session)+"|"+strconv.FormatInt(max(ref.Born, 0), 10))
	}
	return leaseCall(a.Account, args...)
}

const noLimit = 1000 // more than an account can have

// quickTerms returns a limit and a household within which every lease of an
// account is within the terms, whatever its rank.
func quickTerms(t *grandstand.Terms) (limit, household int) {
	switch {
	case t.Limit > 0 && t.EventLimit > 0:
		return min(t.Limit, t.EventLimit), 0
	case t.EventLimit > 0:
		return 1, 0 // of more leases, those of the event have to be counted
	case t.Limit > 0:
		return t.Limit, t.Household
	}
	return noLimit, 0
}

// askRest is what the quick way does not need.
func askRest(a *grandstand.Ask) string {
	b := make([]byte, 0, 96)
	for _, f := range []struct {
		is   bool
		char byte
	}{{a.Terms.Evict, 'e'}, {a.Terms.Shadow, 's'}, {a.Insist, 'i'}, {a.Wait, 'w'}} {
		if f.is {
			b = append(b, f.char)
		}
	}
	h := &a.Hold
	for _, n := range [...]int64{int64(a.Terms.Household), int64(a.Terms.Limit), int64(a.Terms.EventLimit), h.Since, h.Born, h.Granted} {
		b = strconv.AppendInt(append(b, '|'), min(max(n, 0), 9_999_999_999_999), 10)
	}
	b = append(b, '|')
	return string(append(b, escape(a.Terms.Rule)...))
}

// news is what a script about leases says beside its answer.
type news struct {
	members []string // who is to be told that something changed
	corrupt bool     // what was there could not be read
}

func cutLine(text string) (line, rest string) {
	line, rest, _ = strings.Cut(text, "\n")
	return line, rest
}

// parseNews reads lines of a reply.
func parseNews(text string) (n news, err error) {
	for text != "" {
		var line string
		line, text = cutLine(text)
		if err := n.add(line); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (n *news) add(line string) error {
	if line == "C" {
		n.corrupt = true
		return nil
	}
	member, ok := strings.CutPrefix(line, "N|")
	if !ok {
		return errors.New("a line of the reply is not known")
	}
	member, err := unescape(member)
	n.members = append(n.members, member)
	return err
}

// parseVerdict reads the reply to an ask: of the quick way, or a line of the
// verdict and one for each rival, before the news.
func parseVerdict(text string, a *grandstand.Ask) (v grandstand.Verdict, n news, err error) {
	if strings.HasPrefix(text, "+") {
		v, err = parseQuick(text, a)
		return v, n, err
	}
	line, text := cutLine(text)
	f := strings.Split(line, "|")
	if len(f) != 10 {
		return v, n, errors.New("the verdict has another number of fields")
	}
	p := parser{}
	v = grandstand.Verdict{
		Outcome: grandstand.Outcome(f[0]), Code: grandstand.BlockCode(f[1]), Allowed: f[1] == "",
		Current: int(p.number(f[3])), Now: p.number(f[4]),
		Hold:  grandstand.Hold{Since: p.number(f[5]), Born: p.number(f[6])},
		Until: p.number(f[7]), FreeAt: p.number(f[8]), By: p.text(f[9]),
	}
	if f[2] == "e" {
		v.Rule, v.Limit = grandstand.EventRule(a.Event), a.Terms.EventLimit
	} else {
		v.Rule, v.Limit = a.Terms.Rule, a.Terms.Limit
	}
	if v.Allowed && v.Hold.Since > 0 {
		v.Hold.Granted = v.Now
	}
	for text != "" && p.err == nil {
		line, text = cutLine(text)
		if !strings.Contains(line, "|L|") && !strings.Contains(line, "|S|") {
			p.keep(n.add(line))
			continue
		}
		v.Rivals = append(v.Rivals, p.lease(line))
	}
	return v, n, p.err
}

const stampLen = 13 // digits of a time

// parseQuick reads +<now><until><since><born><count>|<shared>.
func parseQuick(text string, a *grandstand.Ask) (v grandstand.Verdict, err error) {
	const counts = 1 + 4*stampLen
	if len(text) != counts+len("000|000") || text[counts+3] != '|' {
		return v, errors.New("the verdict of a renewal has another length")
	}
	p := parser{}
	at := func(i int) int64 { return p.number(text[1+i*stampLen : 1+(i+1)*stampLen]) }
	n, shared := int(p.number(text[counts:counts+3])), int(p.number(text[counts+4:]))
	v = grandstand.Verdict{
		Now: at(0), Until: at(1), Allowed: true, Outcome: grandstand.OutcomeRenewed,
		Rule: a.Terms.Rule, Limit: a.Terms.Limit, Current: n - min(a.Terms.Household, shared),
		Hold: grandstand.Hold{Since: at(2), Born: at(3), Granted: at(0)},
	}
	if a.Terms.Limit == 0 && a.Terms.EventLimit > 0 {
		v.Rule, v.Limit = grandstand.EventRule(a.Event), a.Terms.EventLimit
	}
	return v, p.err
}

// parser keeps the first error of many small reads.
type parser struct{ err error }

func (p *parser) keep(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *parser) number(s string) int64 {
	n, err := strconv.ParseUint(s, 10, 53)
	p.keep(err)
	return int64(n)
}

func (p *parser) text(s string) string {
	t, err := unescape(s)
	p.keep(err)
	return t
}

func (p *parser) key(s string) grandstand.Key {
	k, ok := grandstand.ParseKey(s)
	if !ok {
		p.keep(errors.New("not a key"))
	}
	return k
}

// entry cuts <times>|<kind>|<fields>, with n times and the number of fields.
func (p *parser) entry(line string, times, fields int) (at []int64, kind string, f []string) {
	f = strings.Split(line, "|")
	if len(f) != fields+2 || len(f[0]) != times*stampLen {
		p.keep(fmt.Errorf("a line has %d fields", len(f)))
		return make([]int64, times), "", make([]string, fields)
	}
	for i := range times {
		at = append(at, p.number(f[0][i*stampLen:(i+1)*stampLen]))
	}
	return at, f[1], f[2:]
}

// lease reads a line of kind L, S or W.
func (p *parser) lease(line string) grandstand.Lease {
	at, kind, f := p.entry(line, 4, 6)
	l := grandstand.Lease{
		LeaseRef: grandstand.LeaseRef{Device: p.key(f[0]), Session: p.text(f[1]), Born: at[1]},
		Member:   p.text(f[2]), Event: p.text(f[4]), Name: p.text(f[5]),
		Since: at[0], SeenAt: at[2], Until: at[3], Shadow: kind == "S",
	}
	if f[3] != "" {
		p.key(f[3])
	}
	return l
}

// parseState reads an account's state as it is at now.
func parseState(text string, now int64) (*grandstand.AccountState, error) {
	s := &grandstand.AccountState{Now: now}
	if text == "" {
		return s, nil
	}
	p := parser{}
	head, text := cutLine(text)
	if f := strings.Split(head, "|"); len(f) != 5 || f[0] != "1" {
		return nil, errors.New("the state is of an unknown version")
	}
	for text != "" && p.err == nil {
		var line string
		line, text = cutLine(text)
		_, rest, _ := strings.Cut(line, "|")
		kind, _, _ := strings.Cut(rest, "|")
		switch kind {
		case "L", "S":
			if l := p.lease(line); l.Until > now {
				s.Leases = append(s.Leases, l)
			}
		case "W":
			if l := p.lease(line); l.Until > now {
				s.Waiting = append(s.Waiting, grandstand.Waiting{
					Device: l.Device, Session: l.Session, Name: l.Name, Event: l.Event, At: l.SeenAt, Until: l.Until,
				})
			}
		case "T":
			at, _, f := p.entry(line, 4, 5)
			if at[3] > now {
				s.Ended = append(s.Ended, grandstand.Ended{
					Device: p.key(f[0]), Session: p.text(f[1]), Code: grandstand.BlockCode(f[2]), By: p.text(f[4]), At: at[0],
				})
			}
		case "A":
			p.entry(line, 1, 1)
		default:
			return nil, errors.New("a line of the state is of an unknown kind")
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	slices.SortFunc(s.Leases, func(a, b grandstand.Lease) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Session, b.Session))
	})
	slices.SortFunc(s.Waiting, func(a, b grandstand.Waiting) int { return cmp.Compare(a.At, b.At) })
	slices.SortFunc(s.Ended, func(a, b grandstand.Ended) int { return cmp.Compare(a.At, b.At) })
	return s, nil
}

// parseDecision reads an entry of the log:
// at|outcome|code|rule|limit|current|device|session|event|name and the names of
// rivals.
func parseDecision(text string) (grandstand.Decision, error) {
	f := strings.Split(text, "|")
	if len(f) < 10 {
		return grandstand.Decision{}, errors.New("a decision is cut off")
	}
	p := parser{}
	d := grandstand.Decision{
		At: p.number(f[0]), Outcome: f[1], Code: grandstand.BlockCode(f[2]), Rule: p.text(f[3]),
		Limit: int(p.number(f[4])), Current: int(p.number(f[5])),
		Device: p.key(f[6]), Session: p.text(f[7]), Event: p.text(f[8]), Name: p.text(f[9]),
	}
	for _, r := range f[10:] {
		d.Rivals = append(d.Rivals, p.text(r))
	}
	return d, p.err
}
