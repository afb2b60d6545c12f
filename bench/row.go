package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Row is one figure.
type Row struct {
	Key   string  `json:"key"`
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`

	// Floor is what the floor needs for the same, and Ratio is Value / Floor; 0
	// if there is none.
	Floor float64 `json:"floor,omitempty"`
	Ratio float64 `json:"ratio,omitempty"`

	// Target is what Judged must not exceed, or with AtLeast what it must reach;
	// 0 if there is none.
	Target  float64 `json:"target,omitempty"`
	AtLeast bool    `json:"at_least,omitempty"`

	// Guarded says that the figure means the same on another machine: Compare
	// looks at it.
	Guarded bool `json:"guarded,omitempty"`

	Note    string `json:"note,omitempty"`    // how it was measured, and what else was seen
	Missing string `json:"missing,omitempty"` // why there is no figure
}

// Judged returns the number that the target and the baseline are about.
func (r *Row) Judged() float64 {
	if r.Floor > 0 {
		return r.Ratio
	}
	return r.Value
}

// The verdicts on a row.
const (
	Pass = "pass"
	Miss = "MISS"
	Open = "-" // there is no target, or no figure
)

// Verdict returns Pass, Miss or Open.
func (r *Row) Verdict() string {
	switch {
	case r.Missing != "" || r.Target == 0:
		return Open
	case r.AtLeast == (r.Judged() >= r.Target) || r.Judged() == r.Target:
		return Pass
	}
	return Miss
}

// over sets the floor.
func (r Row) over(floor float64) Row {
	if r.Floor = floor; floor > 0 {
		r.Ratio = r.Value / floor
	}
	return r
}

func (r *Row) target() string {
	if r.Target == 0 {
		return "-"
	}
	sign := "≤"
	if r.AtLeast {
		sign = "≥"
	}
	if r.Floor > 0 {
		return sign + " " + number(r.Target) + " × floor"
	}
	return sign + " " + number(r.Target) + " " + r.Unit
}

// WriteTable writes the rows for a person.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\tmeasured\tfloor\tratio\ttarget\t")
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Missing != "" {
			fmt.Fprintf(t, "%s\tnot measured\t\t\t%s\t%s\n", row.What, row.target(), Open)
			continue
		}
		floor, ratio := "-", "-"
		if row.Floor > 0 {
			floor, ratio = number(row.Floor)+" "+row.Unit, number(row.Ratio)+" ×"
		}
		fmt.Fprintf(t, "%s\t%s %s\t%s\t%s\t%s\t%s\n", row.What, number(row.Value), row.Unit, floor, ratio, row.target(), row.Verdict())
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	fmt.Fprintln(w)
	for i := range r.Rows {
		if note := strings.TrimSpace(r.Rows[i].Note + " " + r.Rows[i].Missing); note != "" {
			fmt.Fprintf(w, "%s: %s\n", r.Rows[i].Key, note)
		}
	}
	_, err := fmt.Fprintf(w, "\n%s, size %s, %s\nLeases, the journal and the archiver against their own floors: make bench-go (BenchmarkLeases, BenchmarkJournal, BenchmarkArchive).\n",
		r.At.Format("2006-01-02 15:04 MST"), r.Size, r.Machine)
	return err
}

// number writes three digits of a number, or all before the point.
func number(v float64) string {
	switch a := max(v, -v); {
	case a >= 100 || a == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
