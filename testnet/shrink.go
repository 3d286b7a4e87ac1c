package testnet

import (
	"errors"
	"slices"
	"time"
)

// A shrinker makes a failing run smaller while it fails in the same way.
type shrinker struct {
	seed uint64
	sc   Scenario // of the smallest run so far
	plan plan
	run  outcome

	first  *Failure // of the run that is made smaller
	runs   int
	events uint64 // that may still happen, in all runs
}

// An outcome is what a run that fails has come to.
type outcome struct {
	Result
	failure *Failure
}

const (
	// shrinkRuns bounds how many runs it takes to make one smaller, and
	// shrinkEvents what happens in all of them, next to several times what
	// happened in the first.
	shrinkRuns   = 300
	shrinkEvents = 10_000_000
	shrinkFactor = 5
	// shrinkRoom is how many events a run may have, next to twice those of the
	// smallest so far: it may fail later.
	shrinkRoom = 200_000
)

// shrink looks for the smallest run that fails as a run did which had a plan.
// It returns nil if a second run of that plan takes another course.
func shrink(sc Scenario, p plan, o outcome) *shrinker {
	sc, _ = sc.withDefaults()              // it has passed
	p.steps = append([]Step{}, p.steps...) // not nil
	h := &shrinker{seed: o.Seed, sc: sc, plan: p, run: o, first: o.failure, events: shrinkEvents + shrinkFactor*o.Events}
	if !h.try(sc, p.steps) || h.run.Result != o.Result {
		return nil
	}
	h.runs = 0
	for size := -1; size != h.size(); {
		size = h.size()
		h.leaveNodes() // while there is much that may go wrong without them
		h.shorten()
		h.leaveSteps()
	}
	return h
}

// size is smaller for a smaller run.
func (h *shrinker) size() int { return h.sc.Nodes + len(h.plan.steps) + int(h.sc.For/time.Second) }

// try runs a scenario with steps, and takes it if it fails as the first did.
func (h *shrinker) try(sc Scenario, steps []Step) bool {
	if h.runs >= shrinkRuns || h.events == 0 {
		return false
	}
	h.runs++
	p := plan{steps: append([]Step{}, steps...), limit: min(h.events, 2*h.run.Events+shrinkRoom)}
	r, err := run(h.seed, sc, &p, nil)
	h.events -= min(h.events, r.Events)
	var f *Failure
	if !errors.As(err, &f) || !f.like(h.first) {
		return false
	}
	h.sc, h.plan, h.run = sc, p, outcome{r, f}
	return true
}

// like reports whether two failures are of the same sort. A panic is of that
// sort only if it says the same: code that is not written for fewer nodes
// panics for another reason.
func (f *Failure) like(o *Failure) bool {
	return f.Invariant == o.Invariant && f.late == o.late && panicText(f.Err) == panicText(o.Err)
}

// shorten ends the run just after the failure, and leaves out what would have
// happened later. What shows at the end of a run keeps its time.
func (h *shrinker) shorten() {
	at := max(0, h.run.failure.At-h.plan.formed)
	sc := h.sc
	sc.For = min(sc.For, at.Truncate(time.Second)+time.Second)
	steps := slices.DeleteFunc(slices.Clone(h.plan.steps), func(s Step) bool { return s.at > at })
	if sc.For < h.sc.For || len(steps) < len(h.plan.steps) {
		h.try(sc, steps)
	}
}

// leaveNodes leaves out nodes: half of them as long as that goes, then fewer,
// at last one by one.
func (h *shrinker) leaveNodes() {
	for less := h.sc.Nodes / 2; less > 0; {
		sc := h.sc
		sc.Nodes -= less
		if sc.Nodes > 0 && h.try(sc, without(h.plan.steps, sc.Nodes)) {
			less = min(less, sc.Nodes/2)
		} else {
			less /= 2
		}
	}
}

// without returns the steps that can happen in a network of so many nodes.
func without(steps []Step, nodes int) []Step {
	var kept []Step
	for _, s := range steps {
		there := slices.DeleteFunc(slices.Clone(s.nodes), func(i int) bool { return i >= nodes })
		switch {
		case len(there) == len(s.nodes):
			kept = append(kept, s)
		case len(there) == 0 || len(there) == nodes:
		case s.name == splitOff:
			kept = append(kept, At(s.at, Split(there...)))
		case s.name == rejoin:
			kept = append(kept, At(s.at, Rejoin(there...)))
		}
	}
	return kept
}

// The names of faults that are about a group, of which some may be missing.
var splitOff, rejoin = Split().name, Rejoin().name

// leaveSteps leaves out steps. A fault goes with what ends it, so that a
// network is not left broken at the end, where that would be the reason why it
// fails. Where it is not, single steps go too.
func (h *shrinker) leaveSteps() {
	ddmin(units(h.plan.steps), func(part [][]Step) bool { return h.try(h.sc, slices.Concat(part...)) })
	if !h.first.late {
		ddmin(slices.Clone(h.plan.steps), func(part []Step) bool { return h.try(h.sc, part) })
	}
}

// enders are the faults that end others.
var enders = map[string]string{Crash(0).name: Restart(0).name, "stop": Restart(0).name, Partition(0, 0).name: Heal(0, 0).name,
	OneWay(0, 0).name: Heal(0, 0).name, splitOff: rejoin}

// units puts each fault together with the next step that ends it.
func units(steps []Step) [][]Step {
	var all [][]Step
	taken := make([]bool, len(steps))
	for i, s := range steps {
		if taken[i] {
			continue
		}
		unit := []Step{s}
		for j := i + 1; enders[s.name] != "" && j < len(steps); j++ {
			if e := steps[j]; !taken[j] && e.name == enders[s.name] && e.at >= s.at && slices.Equal(e.nodes, s.nodes) {
				taken[j] = true
				unit = append(unit, e)
				break
			}
		}
		all = append(all, unit)
	}
	return all
}

// ddmin returns a part of items with which fails still holds, and does so no
// more if any one of them is left out. It is delta debugging: Zeller and
// Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.
func ddmin[T any](items []T, fails func(part []T) bool) []T {
	if len(items) == 0 || fails(nil) {
		return nil
	}
	for parts := 2; len(items) > 1; {
		smaller, found := reduce(items, parts, fails)
		switch {
		case found && len(smaller) <= (len(items)+parts-1)/parts: // one part
			parts = 2
		case found:
			parts = max(parts-1, 2)
		case parts >= len(items):
			return items
		default:
			parts *= 2
		}
		items = smaller
		parts = min(parts, len(items))
	}
	return items
}

// reduce looks for one of some parts with which it fails, or else for one
// without which it does.
func reduce[T any](items []T, parts int, fails func(part []T) bool) ([]T, bool) {
	bound := func(i int) int { return i * len(items) / parts }
	for i := range parts {
		if part := slices.Clone(items[bound(i):bound(i+1)]); fails(part) {
			return part, true
		}
	}
	for i := range parts {
		if parts == 2 {
			break // the rest is the other part
		}
		if rest := slices.Concat(items[:bound(i)], items[bound(i+1):]); fails(rest) {
			return rest, true
		}
	}
	return items, false
}
