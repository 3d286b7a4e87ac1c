package sim

import (
	"math/rand/v2"
	"testing"
)

// Events come out in the order of their times, those of one time in the order
// in which they went in, also where most timers have been stopped.
func TestQueueOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var q queue
	var timers []*timer
	pushed, stopped := 0, 0
	for range 20_000 {
		at := int64(rng.IntN(500))
		if rng.IntN(3) == 0 {
			q.push(at, call(func() {}))
		} else {
			x := &timer{}
			timers = append(timers, x)
			q.push(at, x)
		}
		pushed++
	}
	for i, x := range timers {
		if i%10 != 0 {
			x.over = true
			q.bury()
			stopped++
		}
	}
	if len(q.heap) > 2*(pushed-stopped)+1024 {
		t.Errorf("%d events are kept after %d of %d have been stopped, want those to be taken out", len(q.heap), stopped, pushed)
	}
	live := 0
	for last := (event{at: -1}); len(q.heap) > 0; {
		e := q.pop()
		if !last.before(&e) {
			t.Fatalf("event %d of time %d came after event %d of time %d", e.seq, e.at, last.seq, last.at)
		}
		last = e
		if x, ok := e.do.(*timer); !ok || !x.over {
			live++
		}
	}
	if live != pushed-stopped {
		t.Errorf("%d live events came out, want %d", live, pushed-stopped)
	}
}
