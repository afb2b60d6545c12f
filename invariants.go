package grandstand

// Invariant names something that holds whatever fails around it. Every process
// checks its own all the time; who finds one broken has found a bug in this
// program (docs/runbooks/InvariantViolated.md).
type Invariant string

// The invariants that are counted.
const (
	// InvariantOrder: what one reader is shown of an event never goes back in
	// (epoch, at). Checked by gateways where frames leave.
	InvariantOrder Invariant = "at_order"

	// InvariantSums: the sessions of each dimension add up to the world's.
	// Checked by aggregators on every board before it is published.
	InvariantSums Invariant = "board_sums"

	// InvariantFans: no segment has more fans than sessions or reach, and the
	// world has as many as its largest part. Checked as InvariantSums is.
	InvariantFans Invariant = "board_fans"

	// InvariantDurable: nothing is acknowledged that is not on the disk.
	// Checked by journals when they tell of a commit, and by gateways where
	// acknowledgements leave.
	InvariantDurable Invariant = "acked_durable"
)

// Invariants are all that are counted.
var Invariants = [...]Invariant{InvariantOrder, InvariantSums, InvariantFans, InvariantDurable}

// Violated is told of a broken invariant; details are pairs of a key and a value,
// as slog takes them, by which the place can be found. It returns at once, and may
// be called at the same time.
type Violated func(what Invariant, details ...any)
