package testnet

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"testing"
	"time"
)

// A Result is what came of a run: see also [Sim].Events and Hash.
type Result struct {
	Seed   uint64
	Events uint64
	Hash   uint64        // of all events: the same for the same scenario and seed
	Took   time.Duration // virtual time; of [Live], real time
}

// Run runs a scenario once. The error is a [*Failure] where the run did not end
// well. observe, where it is not nil, is called with every event, as
// [Watch.Event] is.
func Run(seed uint64, sc Scenario, observe func(*Event)) (Result, error) {
	return run(seed, sc, nil, observe)
}

// run is Run with a plan of what happens; nil draws one.
func run(seed uint64, sc Scenario, p *plan, observe func(*Event)) (r Result, err error) {
	if p == nil {
		p = &plan{}
	}
	r.Seed = seed
	err = guard(func() error {
		s, err := begin(seed, sc, observe)
		if err != nil {
			return err
		}
		defer s.close()
		s.play(p)
		r, err = s.result()
		return err
	})
	return r, thrown(seed, err)
}

// result returns what has come of a run so far.
func (s *Sim) result() (Result, error) {
	r := Result{Seed: s.Seed, Events: s.Events(), Hash: s.Hash(), Took: s.Now()}
	if s.failure != nil {
		return r, s.failure
	}
	return r, nil
}

// thrown makes a failure of a panic outside of Drive, steps and invariants.
func thrown(seed uint64, err error) error {
	if _, ok := err.(*panicError); ok {
		return &Failure{Seed: seed, Invariant: "the scenario's functions return", Err: err}
	}
	return err
}

// A plan is what happens in a run.
type plan struct {
	steps []Step // nil: what the scenario says, and what chance does; a run fills them in
	limit uint64 // of events; 0: none

	formed time.Duration // when the network had formed, and the steps began
}

// The streams of random numbers that a run takes from its seed once the network
// has formed. The scenario's own code draws the same whatever the plan is.
const (
	streamPlan  = 0x706c616e
	streamDrive = 0x6472697665
)

// play runs the scenario to its end, or until something goes wrong.
func (s *Sim) play(p *plan) {
	if p.steps == nil {
		s.rng = rand.New(rand.NewPCG(s.Seed, streamPlan))
		p.steps = append(append([]Step{}, s.scenario.Script...), s.plan()...)
	}
	s.rng = rand.New(rand.NewPCG(s.Seed, streamDrive))
	p.formed = s.Now()
	for _, step := range p.steps {
		s.world.At(step.at, func() {
			if err := guard(func() error { step.do(s); return nil }); err != nil {
				s.fail(step.Fault.String(), err)
			}
		})
	}
	over := s.scenario.Drive == nil
	if !over {
		s.Go(func() {
			defer func() { over = true }()
			s.drive()
		})
	}
	end := s.Now() + s.scenario.For
	for step := 1; s.failure == nil && (s.Now() < end || !over); step++ {
		switch {
		case s.Now() >= end+driveTime:
			s.fail("Drive", fmt.Errorf("it has not returned %v after the end of the run", driveTime))
		case p.limit > 0 && s.Events() > p.limit:
			s.fail("the run is within its limit", fmt.Errorf("there were more than %d events", p.limit))
		}
		s.Sleep(playStep)
		if time.Duration(step)*playStep%time.Second == 0 {
			s.look(s.watches)
		}
	}
	if s.failure == nil {
		s.watches = nil
		for _, i := range s.scenario.Eventually {
			s.watch(i)
		}
		s.look(s.watches)
		if s.failure != nil {
			s.failure.late = true
		}
	}
}

// playStep is how long a run may go on after something has gone wrong.
const playStep = 100 * time.Millisecond

// driveTime is how long after the end of a run Drive may take.
const driveTime = time.Hour

// drive runs the scenario's own code.
func (s *Sim) drive() {
	err := errGone
	defer func() {
		if err != nil {
			s.fail("Drive", err)
		}
	}()
	err = guard(func() error { return s.scenario.Drive(s) })
}

var errGone = errors.New("its goroutine has ended: it waited for a node that has crashed, or called t.FailNow")

// look checks what has to hold.
func (s *Sim) look(watches []watch) {
	for _, w := range watches {
		if err := w.check(); err != nil {
			s.fail(w.name, err)
		}
	}
}

// A panicError is a panic of the scenario's code.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n\n%s", e.value, e.stack) }

// guard makes an error of a panic.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, ownFrames(debug.Stack())}
		}
	}()
	return f()
}

// ownFrames leaves out of a stack what is above the panic and below the guard.
func ownFrames(stack []byte) []byte {
	if _, rest, ok := bytes.Cut(stack, []byte("\npanic(")); ok {
		if parts := bytes.SplitN(rest, []byte("\n"), 3); len(parts) == 3 {
			stack = parts[2]
		}
	}
	stack, _, _ = bytes.Cut(stack, []byte("github.com/plexus-net/plexus/testnet.guard("))
	return stack
}

// panicText returns what a panic said, "" for other errors.
func panicText(err error) string {
	var p *panicError
	if !errors.As(err, &p) {
		return ""
	}
	return fmt.Sprintf("panic: %v", p.value)
}

// Check runs a scenario with many seeds. Where a run fails, it makes the
// scenario smaller while it still fails in the same way, and fails the test
// with the seed, the step, what is left of the scenario and what led to the
// failure. With go test -artifacts it leaves the whole trace in files.
//
// Smaller are fewer nodes, fewer steps and faults, and less time. So that nodes
// can be left out, Drive and invariants should ask for s.Nodes, and not take it
// for granted how many there are. Functions of the scenario are called in every
// run, and should begin anew in each.
func Check(t testing.TB, sc Scenario) {
	t.Helper()
	first, last := uint64(1), uint64(sc.Seeds)
	if sc.Seeds == 0 {
		last = defaultSeeds
	}
	if sc.Seed != 0 {
		first, last = sc.Seed, sc.Seed
	}
	for seed := first; seed <= last; seed++ {
		var p plan
		if r, err := run(seed, sc, &p, nil); err != nil {
			t.Fatal(explain(t, sc, p, r, err))
		}
	}
}

const defaultSeeds = 20
