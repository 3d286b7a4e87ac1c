//go:build !race

package raw_test

// raceEnabled says that the race detector is at work.
const raceEnabled = false
