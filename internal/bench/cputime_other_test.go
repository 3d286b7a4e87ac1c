//go:build !unix

package bench

import "time"

// cpuTime returns zero: unknown.
func cpuTime() time.Duration { return 0 }
