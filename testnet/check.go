package testnet

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// A Result is what came of a run.
type Result struct {
	Seed   uint64
	Events uint64
	Hash   uint64        // of all events: the same for the same scenario and seed
	Took   time.Duration // virtual time
}

// Run runs a scenario once. The error is a [*Failure] where the run did not end
// well. observe, where it is not nil, is called with every event, as
// [Watch.Event] is.
func Run(seed uint64, sc Scenario, observe func(*Event)) (Result, error) {
	return run(seed, sc, nil, observe)
}

// run is Run with a plan of what happens by chance; nil draws one.
func run(seed uint64, sc Scenario, plan *plan, observe func(*Event)) (Result, error) {
	s, err := begin(seed, sc, observe)
	if err != nil {
		return Result{Seed: seed}, err
	}
	defer s.close()
	s.play(plan)
	if s.failure != nil {
		return s.result(), s.failure
	}
	return s.result(), nil
}

func (s *Sim) result() Result {
	return Result{Seed: s.Seed, Events: s.Events(), Hash: s.Hash(), Took: s.Now()}
}

// A plan is what happens in a run. A run that fails fills it in.
type plan struct{ steps []Step }

// play runs the scenario to its end, or until something goes wrong.
func (s *Sim) play(p *plan) {
	if p == nil {
		p = &plan{}
	}
	if p.steps == nil {
		p.steps = append(append([]Step{}, s.scenario.Script...), s.plan()...)
	}
	for _, step := range p.steps {
		s.world.At(step.at, func() { step.do(s) })
	}
	over := s.scenario.Drive == nil
	if !over {
		s.Go(func() {
			if err := s.scenario.Drive(s); err != nil {
				s.fail("Drive", err)
			}
			over = true
		})
	}
	end := s.Now() + s.scenario.For
	for s.failure == nil && (s.Now() < end || !over) {
		if s.Now() >= end+driveTime {
			s.fail("Drive", fmt.Errorf("it has not returned %v after the end of the run", driveTime))
		}
		s.Sleep(time.Second)
		s.look(s.watches)
	}
	if s.failure == nil {
		s.watches = nil
		for _, i := range s.scenario.Eventually {
			s.watch(i)
		}
		s.look(s.watches)
	}
}

// driveTime is how long after the end of a run Drive may take.
const driveTime = time.Hour

// look checks what has to hold.
func (s *Sim) look(watches []watch) {
	for _, w := range watches {
		if err := w.check(); err != nil {
			s.fail(w.name, err)
		}
	}
}

// Check runs a scenario with many seeds. Where a run fails, it makes the
// scenario smaller while it still fails in the same way, and fails the test
// with the seed, the step and a trace of what led to it.
func Check(t testing.TB, sc Scenario) {
	t.Helper()
	seeds := sc.Seeds
	if seeds == 0 {
		seeds = defaultSeeds
	}
	for seed := uint64(1); seed <= uint64(seeds); seed++ {
		if _, err := Run(seed, sc, nil); err != nil {
			t.Fatal(explain(seed, sc, err))
		}
	}
}

const defaultSeeds = 20

func explain(seed uint64, sc Scenario, err error) string {
	var b bytes.Buffer
	fmt.Fprintln(&b, err)
	return b.String()
}
