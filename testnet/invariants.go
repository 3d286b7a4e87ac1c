package testnet

import (
	"fmt"

	"github.com/plexus-net/plexus/identity"
)

// Standard returns the invariants that hold in every network of plexus nodes,
// for [Scenario]'s Always, and those that hold in the end where Reachable does,
// for Eventually: leave these out, or choose among them, in other networks. With
// traffic, its invariants are among them.
func Standard(traffic ...*Traffic) (always, eventually []Invariant) {
	always = []Invariant{Paired(), NoLeaks(), Bounded(0, 0), NoPanics(), LoopFree()}
	for _, t := range traffic {
		always = append(always, t.Delivered(), t.Answered(), t.Dialled())
	}
	return always, []Invariant{Reachable(), OneOwner()}
}

// Bounded promises that queues stay within their bounds: what waits for a
// behaviour within its behavior.Info.MaxQueue, and what waits to be written to a
// connection within the windows of its services, of routed messages and of
// control frames. queue is the largest MaxQueue, and window the largest Window,
// of the network's behaviours; zero is their default.
//
// It is for Always.
func Bounded(queue, window int) Invariant {
	if queue <= 0 {
		queue = 4096
	}
	if window <= 0 {
		window = 1 << 20
	}
	return Holds("queues are bounded", func(s *Sim) error {
		routed := s.scenario.Limits.RoutedWindow
		if routed == 0 {
			routed = 1 << 20
		}
		for i := range s.nodes {
			if !s.Up(i) {
				continue
			}
			st := s.stateOf(i)
			for _, b := range st.Services {
				if b.Queued > queue {
					return fmt.Errorf("node %d: %d events and messages wait for service %d, at most %d are allowed", i, b.Queued, b.ID, queue)
				}
			}
			for _, c := range st.Conns {
				if most := len(c.Services)*window + 2*routed + controlQueue; c.Queued > most {
					return fmt.Errorf("node %d: %d bytes wait for connection %d, at most %d are allowed", i, c.Queued, c.ID, most)
				}
			}
		}
		return nil
	})
}

// controlQueue is how many bytes of control frames may wait: 1 MiB, and the one
// frame that goes beyond.
const controlQueue = 1<<20 + 64<<10

// NoPanics promises that no callback panics, and that no node takes another's
// bytes for anything but the protocol. Both would otherwise only be counted and
// logged: see State.
//
// It is for Always, in networks that do not do so on purpose.
func NoPanics() Invariant {
	return Holds("no panics, no protocol errors", func(s *Sim) error {
		for i := range s.nodes {
			if !s.Up(i) {
				continue
			}
			counters := s.stateOf(i).Counters
			for _, name := range []string{"panics", "protocol_errors", "routed_forged"} {
				if n := counters[name]; n > 0 {
					return fmt.Errorf("node %d counts %d %s", i, n, name)
				}
			}
		}
		return nil
	})
}

// A concern is an error that says whom it is about, for those who tell what led
// to it.
type concern struct {
	error
	nodes   []int
	service identity.ServiceID // 0: any
}

// Unwrap returns the error.
func (c *concern) Unwrap() error { return c.error }

// concerning makes an error about nodes, and a service of theirs.
func concerning(nodes []int, service identity.ServiceID, format string, args ...any) error {
	return &concern{fmt.Errorf(format, args...), nodes, service}
}
