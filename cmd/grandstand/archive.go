package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"grandstand"
	"grandstand/archiver"
)

// archiveCmd are the tools for what is archived.
type archiveCmd struct {
	Ls     archiveLsCmd     `cmd:"" help:"List the objects of raw events."`
	Verify archiveVerifyCmd `cmd:"" help:"Read everything back and prove that nothing acknowledged is lost or doubled; exit code 3 otherwise."`
	Cat    archiveCatCmd    `cmd:"" help:"Print an event's rows as JSON, one a line, in the order of time."`
	Replay archiveReplayCmd `cmd:"" help:"Count an archived event again, and compare with what was shown live."`

	Compact archiveCompactCmd `cmd:"" help:"Bring closed hours into events/, one object for each event and hour. Archivers do that every ten minutes."`
	Prune   archivePruneCmd   `cmd:"" help:"List what is old enough to go, and with --do remove it."`
}

// archived is where the tools find the archive.
type archived struct {
	Archive string `help:"file:DIR or s3://bucket/prefix?endpoint=URL." default:"file:./data/archive"`
	Temp    string `help:"Directory of objects while they are read. Default: the system's." placeholder:"DIR"`
}

func (a *archived) open(ctx context.Context) (*archiver.Store, error) {
	if dir, ok := cutFile(a.Archive); ok { // to open it would make it
		if _, err := os.Stat(dir); err != nil {
			return nil, wrongUsef("--archive: %w", err)
		}
	}
	s, err := archiver.OpenStore(ctx, a.Archive)
	if err != nil {
		return nil, wrongUsef("--archive: %w", err)
	}
	return s, nil
}

type archiveLsCmd struct {
	archived
	Event string `arg:"" optional:"" help:"Only of this event, and what is not divided by events yet."`
}

func (c *archiveLsCmd) Run(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	list, err := s.Objects(ctx, c.Event)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	var sum int64
	for _, o := range list {
		sum += o.Size
		fmt.Fprintf(w, "%d\t  %s\n", o.Size, o.Key)
	}
	fmt.Fprintf(w, "%d\t  bytes in %d objects\n", sum, len(list))
	return w.Flush()
}

type archiveVerifyCmd struct {
	archived
	Event string   `arg:"" optional:"" help:"Only of this event."`
	Acked *os.File `help:"File of what clients were acknowledged: lines of event, session, seq. All of it must be there." placeholder:"FILE"`
	JSON  bool     `help:"Print the report as JSON." name:"json"`
}

func (c *archiveVerifyCmd) Run(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	opt := archiver.VerifyOptions{Event: c.Event, Temp: c.Temp}
	if c.Acked != nil {
		defer c.Acked.Close()
		opt.Acked = func(yield func(event, session string, seq uint64)) error { return readAcked(c.Acked, yield) }
	}
	r, err := s.Verify(ctx, opt)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(os.Stdout).Encode(r)
	} else {
		err = printVerified(os.Stdout, r)
	}
	if err == nil && !r.Good() {
		err = errBroken
	}
	return err
}

// readAcked reads lines of event, session and seq.
func readAcked(r io.Reader, yield func(event, session string, seq uint64)) error {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		f := strings.Fields(lines.Text())
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return wrongUsef("--acked: line %d is not an event, a session and a number", n)
		}
		seq, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil {
			return wrongUsef("--acked: line %d: %w", n, err)
		}
		yield(f[0], f[1], seq)
	}
	return lines.Err()
}

func printVerified(out io.Writer, r *archiver.VerifyReport) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "%d objects, %d rows as they came, %d in closed hours, %d refused by gateways\n", r.Objects, r.Rows, r.Closed, r.Refused)
	for _, d := range r.Damaged {
		fmt.Fprintf(w, "DAMAGED\t%s\n", d)
	}
	if r.Troubled > 0 {
		fmt.Fprintf(w, "%d damaged parts of journal files, kept under damaged/\n", r.Troubled)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Events)) {
		e := r.Events[name]
		fmt.Fprintf(w, "\n%s\t%d sessions, %d numbered events\n", name, e.Sessions, e.Numbered)
		for _, h := range slices.Sorted(maps.Keys(e.Hours)) {
			fmt.Fprintf(w, "  %s\t%d rows\n", time.UnixMilli(h).UTC().Format("2006-01-02 15h"), e.Hours[h])
		}
		fmt.Fprintf(w, "  sent again\t%d\n  never came\t%d (nobody acknowledged them: connections were lost)\n", e.Resent, e.Unsent)
		for _, bad := range []struct {
			what string
			n    uint64
		}{{"DOUBLED", e.Doubled}, {"LOST", e.Lost}, {"ACKNOWLEDGED AND MISSING", e.Missing}, {"SESSIONS CUT SHORT", e.Short}} {
			if bad.n > 0 {
				fmt.Fprintf(w, "  %s\t%d\n", bad.what, bad.n)
			}
		}
		for _, s := range e.Samples {
			fmt.Fprintf(w, "    %s\n", s)
		}
	}
	verdict := "good: nothing acknowledged is lost, nothing stands twice in a closed hour"
	if !r.Good() {
		verdict = "BAD: see above"
	}
	fmt.Fprintf(w, "\nverdict\t%s\n", verdict)
	return w.Flush()
}

type archiveCompactCmd struct {
	archived
	Event string `arg:"" optional:"" help:"Only this event."`
	Now   bool   `help:"The hour that is not over, too. It is compacted again when more of it comes."`
}

func (c *archiveCompactCmd) Run(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	opt := archiver.CompactOptions{Event: c.Event, Temp: c.Temp}
	if c.Now {
		opt.Before = time.Now().Add(time.Hour)
	}
	r, err := s.Compact(ctx, opt)
	fmt.Printf("%d hours compacted, %d were already; %d new objects of live/ with %d rows, %d of them doubles; %d objects written, %d rows, %d bytes\n",
		r.Hours, r.Current, r.Inputs, r.RowsRead, r.Doubles, r.Objects, r.Rows, r.Bytes)
	return err
}

type archivePruneCmd struct {
	archived
	Older     time.Duration `help:"Age, after its hour, at which an object of a closed hour goes; 0: never." default:"0"`
	OlderLive time.Duration `help:"The same for what is in live/ as it came, once all of it is in closed hours." default:"24h"`
	Do        bool          `help:"Remove. Without it, what would go is only listed."`
}

func (c *archivePruneCmd) Run(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	objects, size := 0, int64(0)
	if err := s.Prune(ctx, archiver.PruneOptions{Keep: c.Older, KeepLive: c.OlderLive, Do: c.Do}, func(o archiver.Object) {
		objects, size = objects+1, size+o.Size
		fmt.Println(o.Key)
	}); err != nil {
		return err
	}
	verb := "would go: add --do"
	if c.Do {
		verb = "are gone"
	}
	fmt.Printf("%d objects of %d bytes %s\n", objects, size, verb)
	return nil
}

// spanFlags bound what is read of an event.
type spanFlags struct {
	From time.Time `help:"First time, RFC 3339."`
	To   time.Time `help:"Time after the last, RFC 3339."`
}

func (f *spanFlags) options(event, temp string) archiver.RowsOptions {
	opt := archiver.RowsOptions{Event: event, Temp: temp}
	if !f.From.IsZero() {
		opt.From = f.From.UnixMilli()
	}
	if !f.To.IsZero() {
		opt.To = f.To.UnixMilli()
	}
	return opt
}

type archiveCatCmd struct {
	archived
	spanFlags
	Event string `arg:"" help:"Whose rows."`
}

func (c *archiveCatCmd) Run(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	out := bufio.NewWriter(os.Stdout)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	err = s.Rows(ctx, c.options(c.Event, c.Temp), func(r *archiver.Row) error {
		line, err := printable(r)
		if err != nil {
			return err
		}
		return enc.Encode(line)
	})
	return cmp.Or(err, out.Flush())
}

// rowLine is a row as it is printed. Keys stand for ids, as in the archive.
type rowLine struct {
	Received string            `json:"received_time"`
	Client   string            `json:"client_time,omitempty"`
	Kind     string            `json:"kind"`
	Session  string            `json:"session"`
	Seq      *uint64           `json:"seq,omitempty"`
	Viewer   string            `json:"viewer,omitempty"`
	Account  string            `json:"account,omitempty"`
	Device   string            `json:"device,omitempty"`
	Name     string            `json:"name,omitempty"`
	State    string            `json:"state,omitempty"`
	Position *float64          `json:"position,omitempty"`
	Bitrate  *int64            `json:"bitrate,omitempty"`
	Segments map[string]string `json:"segments"`
	Data     json.RawMessage   `json:"data,omitempty"`
	Gateway  string            `json:"gateway"`
	Journal  string            `json:"journal"`
	File     uint64            `json:"file"`
}

func printable(r *archiver.Row) (*rowLine, error) {
	segs, err := r.Values()
	if err != nil {
		return nil, err
	}
	at := func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00") }
	key := func(k grandstand.Key) string {
		if k.IsZero() {
			return ""
		}
		return k.Text()
	}
	l := &rowLine{
		Received: at(r.ReceivedTime), Kind: r.Kind.String(), Session: string(r.Session),
		Viewer: key(r.Viewer), Account: key(r.Account), Device: key(r.Device), Name: string(r.Name), State: r.State.String(),
		Segments: map[string]string{}, Data: r.Data, Gateway: string(r.Gateway), Journal: string(r.Journal), File: r.File,
	}
	for _, s := range segs {
		l.Segments[s.Dim] = s.Value
	}
	if r.ClientTime != 0 {
		l.Client = at(r.ClientTime)
	}
	if r.HasSeq {
		l.Seq = &r.Seq
	}
	if r.HasPosition {
		l.Position = &r.Position
	}
	if r.HasBitrate {
		l.Bitrate = &r.Bitrate
	}
	return l, nil
}
