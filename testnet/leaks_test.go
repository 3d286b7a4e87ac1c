package testnet

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestLeaks has less patience than the nodes have: what takes them a while is a
// leak then.
func TestLeaks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hurry func(l *leaks)
		do    func(s *Sim)
		want  string
	}{
		{"a half of a connection", func(l *leaks) { l.idle = 5 * time.Second }, func(s *Sim) { s.Crash(1) }, "node 0 has had connection 1, to node 1, for 6s without the other end"},
		{"a handshake", func(l *leaks) { l.opening = 2 * time.Second }, func(s *Sim) {
			_ = s.Node(2).Add(s.Node(0).Address()) // whom it reaches in a millisecond
			s.Sleep(1500 * time.Microsecond)
			s.host(0).Pause()
		}, "node 2 holds a connection to node 0"},
		{"a dial", func(l *leaks) { l.dial = 5 * time.Second }, func(s *Sim) {
			s.Crash(1)
			_ = s.Node(2).Add(s.Node(1).Address()) // nobody is there
		}, "node 2 has dialled node 1 for 6s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Simulate(t, 1, Scenario{Nodes: 3, Topology: func(int, *rand.Rand) []Edge { return []Edge{{0, 1}} }})
			l := newLeaks(s)
			s.observe = append(s.observe, func(e *Event) { _ = l.event(e) }) // it never fails
			s.Sleep(10 * time.Second)
			tt.hurry(l)
			tt.do(s)
			var err error
			for range 12 {
				s.Sleep(time.Second)
				err = errors.Join(err, l.check())
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
