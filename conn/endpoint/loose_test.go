package endpoint

import "testing"

// Numbers begin anew with each life of the peer; what a former life has sent is
// late, whatever its number.
func TestDatagramNumbersOfLives(t *testing.T) {
	var l loose
	for i, step := range []struct {
		life    int
		number  uint64
		arrives bool
	}{
		{0, 2, true}, {0, 2, false}, {0, 1, false}, {0, 5, true},
		{1, 1, true}, {0, 100, false}, {1, 2, true}, {1, 4, true},
	} {
		if step.life != l.life() && step.arrives {
			l.restart()
		}
		if got := l.arrived(step.life, step.number); got != step.arrives {
			t.Errorf("step %d: datagram %d of life %d arrives: %t", i, step.number, step.life, got)
		}
	}
	var s Stats
	if l.stats(&s); s.DatagramsReceived != 5 || s.DatagramsLate != 3 || s.DatagramsMissed != 4 {
		t.Errorf("%+v", s)
	}
}
