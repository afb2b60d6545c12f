//go:build !race

package grandstand

// raceDetector says that the tests were built with -race.
const raceDetector = false
