// Package baseline is how tests show that nothing is left of what has ended. Only
// tests import it.
package baseline

import (
	"os"
	"runtime"
	"testing"
	"time"
)

const (
	cycles   = 100
	warm     = 33      // so many go before anything is measured
	most     = 1 << 10 // bytes that may be left of a cycle: of goroutines, the runtime keeps some
	patience = 20 * time.Second
)

// Restored calls cycle, which makes something and ends it, a hundred times, and
// fails the test if goroutines, descriptors or memory are left of it. A connection
// that stays costs more than 2 KB.
func Restored(t testing.TB, cycle func()) {
	t.Helper()
	for range warm {
		cycle()
	}
	goroutines, files, before := settled(), Descriptors(), heap()
	for range cycles - warm {
		cycle()
	}
	for began := time.Now(); settled() > goroutines; runtime.Gosched() {
		if time.Since(began) > patience {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
		}
	}
	if now := Descriptors(); now > files {
		t.Errorf("%d descriptors, %d before", now, files)
	}
	if now := heap(); now > before+(cycles-warm)*most {
		t.Errorf("%d bytes of heap, %d before: %d for each cycle", now, before, (now-before)/(cycles-warm))
	}
}

func settled() int {
	runtime.GC()
	return runtime.NumGoroutine()
}

// Descriptors is how many the process has open, -1 if it cannot tell.
func Descriptors() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(all)
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
