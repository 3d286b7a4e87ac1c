package testnet

import (
	"fmt"
	"time"
)

// An Invariant is something that has to hold of a network.
type Invariant struct {
	// Name is how failures call it.
	Name string
	// Begin prepares the invariant for a run.
	Begin func(s *Sim) Watch
}

// A Watch watches one run for an invariant. Both functions may be nil; neither
// may act on the network.
type Watch struct {
	// Event is called with every event, and must not keep it. Only a simulation
	// has events.
	Event func(e *Event) error
	// Check is called every second, of virtual time in a simulation, and at the
	// end.
	Check func() error
}

// Holds is an invariant that is nothing but a condition.
func Holds(name string, check func(s *Sim) error) Invariant {
	return Invariant{name, func(s *Sim) Watch { return Watch{Check: func() error { return check(s) }} }}
}

// A Failure is an invariant that did not hold, or something else that went
// wrong in a run.
type Failure struct {
	Seed      uint64
	Invariant string
	Event     uint64        // how many events had happened: see Sim.Events
	At        time.Duration // virtual time; with Live, real time
	Err       error

	cause uint64 // the event that it follows from; 0: it was found by looking
	late  bool   // it was found at the end of the run
}

func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d, event %d, after %v: %s: %v", f.Seed, f.Event, f.At, f.Invariant, f.Err)
}

func (f *Failure) Unwrap() error { return f.Err }

// fail notes the first thing that goes wrong, before the run is ended.
func (s *Sim) fail(invariant string, err error) {
	if s.failure == nil && s.ctx.Err() == nil {
		s.failure = &Failure{Seed: s.Seed, Invariant: invariant, Event: s.Events(), At: s.Now(), Err: err, cause: s.world.Cause()}
	}
}

// A watch is the Watch of an invariant, in a run.
type watch struct {
	name  string
	check func() error
}

// watch begins to watch for an invariant.
func (s *Sim) watch(i Invariant) {
	w := i.Begin(s)
	if w.Event != nil {
		s.observe = append(s.observe, func(e *Event) {
			if err := guard(func() error { return w.Event(e) }); err != nil {
				s.fail(i.Name, err)
			}
		})
	}
	if w.Check != nil {
		s.watches = append(s.watches, watch{i.Name, func() error { return guard(w.Check) }})
	}
}
