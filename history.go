package grandstand

// Point is one segment of one live board in an event's series.
type Point struct {
	At       int64 // Redis ms
	Sessions uint64
	Fans     uint64
}

// Step is one entry of an event's series: the segments that changed since the
// entry before (what the public is shown of one is a change too), or all of them
// if Full. A segment that dropped out is listed with zeros. Every hour of a series starts with a full step.
type Step struct {
	At     int64
	Full   bool
	Counts []StepCount // sorted by CompareSegments
}

// StepCount is one segment of a Step.
type StepCount struct {
	Segment  Segment
	Sessions uint64
	Fans     uint64
	Folded   bool // the public was shown it within "other"
}

// SeriesUpdate is what is new of one event: steps of its series, and the segments
// whose peak or reach changed.
type SeriesUpdate struct {
	Event string
	Steps []Step
	Reach []CheckpointSegment
}

// HistoryStepMS is the least time between two steps of a series.
const HistoryStepMS = 10_000

// HourOf returns the beginning of the hour, in ms, that a time is in. A series
// is stored by hour.
func HourOf(at int64) int64 { return at - at%3_600_000 }

// Checkpoint is what the archive keeps of an event so that a lost Redis loses
// none of it. Merging one twice, or an older one into a newer, changes nothing:
// peaks merge by maximum, reach by union of sketches.
type Checkpoint struct {
	Event    Event
	Board    *Board // the newest live board; the final one of an ended event
	Segments []CheckpointSegment
}

// CheckpointSegment is one segment of a Checkpoint.
type CheckpointSegment struct {
	Segment Segment
	Peak    uint64
	PeakAt  int64
	Reach   []byte // Sketch.AppendBinary
}
