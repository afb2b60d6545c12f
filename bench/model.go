package bench

type Units struct{}
type Prediction struct{}
