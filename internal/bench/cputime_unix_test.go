//go:build unix

package bench

import (
	"syscall"
	"time"
)

// cpuTime returns what the process has spent on all cores, in and outside of
// the kernel.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
