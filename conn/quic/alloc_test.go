package quic_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/internal/yardstick"
)

// TestAllocations: to carry a message allocates nothing in this package, neither
// in writing it nor in reading it. What quic-go and those beneath it allocate is
// counted apart.
func TestAllocations(t *testing.T) {
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	defer func() { runtime.MemProfileRate = rate }()
	for name, config := range map[string]quic.Config{"default": {}, "no GRO": {NoGRO: true}} {
		t.Run(name, func(t *testing.T) {
			const messages = 5000
			x, y := newEnvWith(t, config).connect(t)
			yardstick.Carry(t, yardstick.Lane{W: x, R: y}, 1<<10, messages) // what is made once has been made
			ours, others := allocated()
			yardstick.Carry(t, yardstick.Lane{W: x, R: y}, 1<<10, messages)
			oursNow, othersNow := allocated()
			t.Logf("%d messages: %d allocations here, %d in quic-go and beneath", messages, oursNow-ours, othersNow-others)
			if got := oursNow - ours; got > messages/100 {
				t.Errorf("%d allocations for %d messages, want none for each", got, messages)
			}
			if othersNow == others {
				t.Error("quic-go has allocated nothing: the profile does not work")
			}
		})
	}
}

// allocated returns how many allocations this process has made: those that code
// of the transport asked for, itself or through the standard library, and the
// rest.
func allocated() (here, elsewhere int64) {
	runtime.GC()
	runtime.GC() // the profile is that of the last but one
	records := make([]runtime.MemProfileRecord, 1000)
	for {
		n, ok := runtime.MemProfile(records, true)
		if ok {
			records = records[:n]
			break
		}
		records = make([]runtime.MemProfileRecord, 2*n)
	}
	for _, r := range records {
		if owner(r.Stack()) == "plexus" {
			here += r.AllocObjects
		} else {
			elsewhere += r.AllocObjects
		}
	}
	return here, elsewhere
}

// owner returns "plexus" if the innermost caller outside of the standard library
// is code of the transport.
func owner(stack []uintptr) string {
	frames := runtime.CallersFrames(stack)
	for {
		f, more := frames.Next()
		switch {
		case strings.HasPrefix(f.Function, "github.com/plexus-net/plexus/conn/quic_test."):
			return "test"
		case strings.HasPrefix(f.Function, "github.com/plexus-net/plexus/"):
			return "plexus"
		case strings.Contains(f.Function, "quic-go") || strings.Contains(f.Function, "golang.org/x/"):
			return "beneath"
		case !more:
			return "runtime"
		}
	}
}
