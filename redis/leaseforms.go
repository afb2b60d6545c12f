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
func askCall(a *grandstand.Ask, forgotten bool) call {
	name := a.Name
	if len(name) > grandstand.MaxDeviceName {
		name = grandstand.CleanDeviceName(name)
	}
	line := "|L|" + a.Device.Text() + "|" + escape(a.Session) + "|" + escape(a.Member) + "|" + addressField(a.Address) + "|" +
		escape(a.Event) + "|" + escape(name) + "\n"
	args := make([]string, 4, 4+len(a.Terminate))
	args[0], args[1], args[2], args[3] = line, strconv.FormatInt(a.LeaseMS, 10), quickLimit(&a.Terms), askRest(a, forgotten)
	for _, ref := range a.Terminate[:min(len(a.Terminate), grandstand.MaxDevices)] {
		args = append(args, ref.Device.Text()+"|"+escape(ref.Session)+"|"+string(appendStamp(nil, ref.Born)))
	}
	return leaseCall(a.Account, args...)
}

// quickLimit returns, in three digits, the number of leases up to which each is
// within the terms, whatever its rank.
func quickLimit(t *grandstand.Terms) string {
	n := 999 // more than an account can have
	switch {
	case t.Limit > 0 && t.EventLimit > 0:
		n = min(t.Limit, t.EventLimit)
	case t.EventLimit > 0:
		n = 1 // of more leases, those of the event have to be counted
	case t.Limit > 0:
		n = min(t.Limit, n)
	}
	return string([]byte{'0' + byte(n/100), '0' + byte(n/10%10), '0' + byte(n%10)})
}

// askRest is what the quick way does not need.
func askRest(a *grandstand.Ask, forgotten bool) string {
	b := make([]byte, 0, 96)
	for _, f := range [...]struct {
		is   bool
		char byte
	}{{a.Terms.Evict, 'e'}, {a.Terms.Shadow, 's'}, {a.Insist, 'i'}, {a.Wait, 'w'}, {forgotten, 'f'}} {
		if !f.is {
			f.char = '-'
		}
		b = append(b, f.char)
	}
	for _, n := range [...]int{a.Terms.Household, a.Terms.Limit, a.Terms.EventLimit} {
		b = strconv.AppendInt(append(b, '|'), int64(max(n, 0)), 10)
	}
	for _, at := range [...]int64{a.Hold.Since, a.Hold.Born, a.Hold.Granted} {
		b = appendStamp(append(b, '|'), at)
	}
	b = append(b, '|')
	return string(append(b, escape(a.Terms.Rule)...))
}

// appendStamp writes a time in 13 digits: until the year 2286.
func appendStamp(b []byte, ms int64) []byte {
	const least = 1_000_000_000_000
	ms = min(max(ms, 0), 10*least-1)
	for digit := int64(least); digit > 0; digit /= 10 {
		b = append(b, '0'+byte(ms/digit%10))
	}
	return b
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
		if line == "C" || strings.HasPrefix(line, "N|") {
			p.keep(n.add(line))
			continue
		}
		l, _ := p.entry(line)
		v.Rivals = append(v.Rivals, l)
	}
	return v, n, p.err
}

// parseQuick reads +<now>|<until>|<since>|<born>|<count>|<shared>.
func parseQuick(text string, a *grandstand.Ask) (v grandstand.Verdict, err error) {
	var n [6]int64
	p := parser{}
	rest := text[1:]
	for i := range n {
		var field string
		field, rest, _ = strings.Cut(rest, "|")
		n[i] = p.number(field)
	}
	v = grandstand.Verdict{
		Now: n[0], Until: n[1], Allowed: true, Outcome: grandstand.OutcomeRenewed,
		Rule: a.Terms.Rule, Limit: a.Terms.Limit, Current: int(n[4] - min(int64(a.Terms.Household), n[5])),
		Hold: grandstand.Hold{Since: n[2], Born: n[3], Granted: n[0]},
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

// entryFields is what every line of a state has: four times, a kind, six texts.
const entryFields = 11

// entry reads a line of a state. For one of kind T the member is a code, the
// event the device's name, and the name that of who did it.
func (p *parser) entry(line string) (l grandstand.Lease, kind string) {
	f := strings.Split(line, "|")
	if len(f) != entryFields {
		p.keep(fmt.Errorf("a line has %d fields", len(f)))
		return l, ""
	}
	l = grandstand.Lease{
		LeaseRef: grandstand.LeaseRef{Born: p.number(f[1]), Session: p.text(f[6])},
		Since:    p.number(f[0]), SeenAt: p.number(f[2]), Until: p.number(f[3]), Shadow: f[4] == "S",
		Member: p.text(f[7]), Event: p.text(f[9]), Name: p.text(f[10]),
	}
	if f[4] != "A" {
		l.Device = p.key(f[5])
	}
	return l, f[4]
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
		l, kind := p.entry(line)
		if l.Until <= now && p.err == nil {
			continue
		}
		switch kind {
		case "L", "S":
			s.Leases = append(s.Leases, l)
		case "W":
			s.Waiting = append(s.Waiting, grandstand.Waiting{
				Device: l.Device, Session: l.Session, Name: l.Name, Event: l.Event, At: l.SeenAt, Until: l.Until,
			})
		case "T":
			s.Ended = append(s.Ended, grandstand.Ended{
				Device: l.Device, Session: l.Session, Code: grandstand.BlockCode(l.Member), Name: l.Event, By: l.Name, At: l.Since,
			})
		case "A":
		default:
			p.keep(errors.New("a line of the state is of an unknown kind"))
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
