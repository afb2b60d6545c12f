package bench

import "fmt"

// Tolerance is by how much of the baseline's a guarded figure may be worse.
const Tolerance = 0.15

// Baseline is the guarded figures of a report: what Compare needs of it. It is
// kept in the repository.
type Baseline struct {
	Size    Size               `json:"size"`
	Machine string             `json:"machine"` // on which it was measured, for whoever reads it
	Date    string             `json:"date"`
	Figures map[string]float64 `json:"figures"` // Row.Judged, by key
}

// Baseline returns the guarded figures.
func (r *Report) Baseline() *Baseline {
	b := &Baseline{Size: r.Size, Machine: r.Machine, Date: r.At.Format("2006-01-02"), Figures: map[string]float64{}}
	for i := range r.Rows {
		if row := &r.Rows[i]; row.Guarded && row.Missing == "" {
			b.Figures[row.Key] = row.Judged()
		}
	}
	return b
}

// Regression is a figure that is worse than in a baseline.
type Regression struct {
	Key  string
	What string // that and the baseline's
}

// Compare returns what is over Tolerance worse than in the baseline, or is in
// it and could not be measured, in the order of the rows; an error if the two do
// not compare. Rows that were not asked for are left out.
func (r *Report) Compare(b *Baseline) (worse []Regression, err error) {
	if r.Size != b.Size {
		return nil, fmt.Errorf("the baseline is of size %s, this run is %s: their figures do not compare", b.Size, r.Size)
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		was, known := b.Figures[row.Key]
		switch is := row.Judged(); {
		case !known || !row.Guarded && row.Missing == "":
		case row.Missing != "":
			worse = append(worse, Regression{row.Key, "not measured: " + row.Missing})
		case row.AtLeast && is < was*(1-Tolerance), !row.AtLeast && is > was*(1+Tolerance):
			worse = append(worse, Regression{row.Key, fmt.Sprintf("%s, the baseline is %s", number(is), number(was))})
		}
	}
	return worse, nil
}
