package raw_test

import (
	"context"
	"os"
	"runtime"
	"testing"

	"github.com/plexus-net/plexus/conn/raw"
)

// descriptors is how many the process has open, -1 if it cannot tell.
func descriptors() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(all)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A hundred times up, some messages, and down: nothing is left of it.
func TestNothingIsLeftAfterAHundredCycles(t *testing.T) {
	const cycles, warm, messages = 100, 33, 20
	cycle := func() {
		got := make(chan struct{}, messages)
		h := &hooks{message: func(context.Context, *raw.Conn, []byte) { got <- struct{}{} }}
		a, err := raw.New(h, raw.Config{Address: "127.0.0.1:0", InQueue: 4})
		if err != nil {
			t.Fatal(err)
		}
		b, err := raw.New(&hooks{}, raw.Config{})
		if err != nil {
			t.Fatal(err)
		}
		addr, err := a.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c := connect(t, b, addr.String())
		for range messages {
			if err := c.Send([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		for range messages {
			wait(t, got, "a message")
		}
		shutdown(t, a)
		shutdown(t, b)
	}
	for range warm {
		cycle()
	}
	settled := func() int { runtime.GC(); return runtime.NumGoroutine() }
	goroutines, files, before := settled(), descriptors(), heap()
	for range cycles - warm {
		cycle()
	}
	until(t, "the goroutines have ended", func() bool { return settled() <= goroutines })
	if now := descriptors(); now > files {
		t.Errorf("%d descriptors, %d before", now, files)
	}
	// A connection that stays costs 2 KB and more. What the runtime keeps of
	// goroutines that have ended, of which there are a few more or less, is less.
	if now := heap(); now > before+uint64(cycles-warm)*1024 {
		t.Errorf("%d bytes of heap, %d before: %d for each cycle", now, before, (now-before)/(cycles-warm))
	}
}
