package testnet

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/identity"
)

const (
	// keptEvents is how many events the trace of a failure keeps: 100 MB.
	keptEvents = 1 << 20
	// reportChain is how many causes, and reportCalls how many callbacks a
	// report shows.
	reportChain = 20
	reportCalls = 60
)

// explain tells how a run has failed, and what led to it in the smallest run
// that fails in the same way.
func explain(t testing.TB, sc Scenario, p plan, r Result, err error) string {
	var b strings.Builder
	var f *Failure
	if !errors.As(err, &f) {
		fmt.Fprintf(&b, "seed %d: %v\n", r.Seed, err)
		again(&b, r.Seed)
		return b.String()
	}
	fmt.Fprintf(&b, "%s: it does not hold. Seed %d, event %d, after %v\n%s", f.Invariant, r.Seed, f.Event, f.At, indented(f.Err.Error()))
	h := shrink(sc, p, outcome{r, f})
	if h == nil {
		b.WriteString(wavers)
		again(&b, r.Seed)
		return b.String()
	}
	h.describe(&b, sc, len(p.steps))
	trace := Trace{Last: keptEvents}
	small := h.plan
	if r, _ := run(h.seed, h.sc, &small, trace.Record); r == h.run.Result {
		trace.story(&b, h.run.failure)
	} else {
		b.WriteString(wavers)
	}
	fmt.Fprintln(&b)
	again(&b, r.Seed)
	keep(&b, t, &trace)
	return b.String()
}

// wavers is said of a scenario that is not the same twice.
const wavers = "\nA second run of this seed took another course, so something does not come from the seed: state that outlives a run, time, goroutines, the order of maps. plexus-vet finds most of it.\n"

func again(w io.Writer, seed uint64) {
	fmt.Fprintf(w, "To run this seed alone, set Scenario.Seed: %d.\n", seed)
}

func indented(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ") + "\n"
}

// describe tells what is left of a scenario that had some steps.
func (h *shrinker) describe(w io.Writer, sc Scenario, steps int) {
	sc, _ = sc.withDefaults() // it has passed
	f := h.run.failure
	fmt.Fprintf(w, "\nThe smallest run that fails so, of %d: event %d, after %v\n", h.runs+1, f.Event, f.At)
	if f.Err.Error() != h.first.Err.Error() && panicText(f.Err) == "" {
		fmt.Fprint(w, indented(f.Err.Error()))
	}
	fmt.Fprintf(w, "    %d of %d nodes, %v of %v, %d of %d steps\n", h.sc.Nodes, sc.Nodes, h.sc.For, sc.For, len(h.plan.steps), steps)
	left := slices.Clone(h.plan.steps)
	slices.SortStableFunc(left, func(a, b Step) int { return cmp.Compare(a.at, b.at) })
	for _, s := range left {
		fmt.Fprintf(w, "    at %v: %s\n", (h.plan.formed + s.at).Round(time.Millisecond), s.Fault)
	}
}

// story shows the causes of a failure, and the callbacks before it.
func (t *Trace) story(w io.Writer, f *Failure) {
	b := bufio.NewWriter(w)
	chain := t.Causes(f.cause)
	var nodes []int
	if len(chain) > 0 {
		left := max(0, len(chain)-reportChain)
		fmt.Fprintf(b, "\nWhat led to it%s:\n", andBefore(left))
		chain = chain[left:]
		var rows []row
		for i := range chain {
			rows = append(rows, row{&chain[i], 0})
			nodes = append(nodes, chain[i].Node)
			if chain[i].Peer >= 0 {
				nodes = append(nodes, chain[i].Peer)
			}
		}
		writeRows(b, "    ", rows)
	}
	var about *concern
	filter := Filter{Kinds: callKinds}
	if errors.As(f.Err, &about) && len(chain) == 0 {
		nodes = append(nodes, about.nodes...)
		if about.service != 0 {
			filter.Services = []identity.ServiceID{about.service}
		}
	}
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	filter.Nodes = nodes
	rows := t.lastCalls(f.Event, filter)
	if len(rows) > 0 {
		fmt.Fprintf(b, "\nThe last callbacks and faults of %s, without ticks of which nothing came:\n", whose(nodes))
		writeRows(b, "    ", rows)
	}
	_ = b.Flush() // into memory
}

// whose names nodes.
func whose(nodes []int) string {
	switch len(nodes) {
	case 0:
		return "all nodes"
	case 1:
		return fmt.Sprintf("node %d", nodes[0])
	}
	return "nodes " + strings.ReplaceAll(strings.Trim(fmt.Sprint(nodes), "[]"), " ", ", ")
}

func andBefore(left int) string {
	if left == 0 {
		return ""
	}
	return fmt.Sprintf(", after %d causes of causes", left)
}

// onTick is the callback that mostly does nothing.
const onTick = "OnTick"

// lastCalls returns the last callbacks and faults that a filter chooses, up to
// an event. It leaves out ticks that led to nothing.
func (t *Trace) lastCalls(until uint64, f Filter) []row {
	led := make(map[uint64]bool)
	var rows []row
	for i := len(t.events) - 1; i >= 0 && len(rows) < reportCalls; i-- {
		e := t.at(i)
		if e.ID > until {
			continue
		}
		led[e.Cause] = true
		if !f.wants(e) || e.Name == onTick && e.ID != until && !led[e.ID] {
			continue
		}
		if n := len(rows) - 1; n >= 0 && rows[n].sameFault(e) {
			rows[n] = row{e, rows[n].more + 1}
			continue
		}
		rows = append(rows, row{e, 0})
	}
	slices.Reverse(rows)
	return rows
}

// keep leaves the whole trace of a failure where the test keeps what it made.
func keep(w io.Writer, t testing.TB, trace *Trace) {
	if set := flag.Lookup("test.artifacts"); set == nil || set.Value.String() != "true" {
		fmt.Fprintln(w, "With go test -artifacts the whole trace is left in files.")
		return
	}
	dir := t.ArtifactDir()
	for _, form := range []struct {
		name  string
		write func(io.Writer, Filter) error
	}{{"trace.txt", trace.WriteText}, {"trace.mmd", trace.WriteMermaid}, {"trace.jsonl", trace.WriteJSON}} {
		if err := writeFile(filepath.Join(dir, form.name), form.write); err != nil {
			fmt.Fprintf(w, "The trace is not kept: %v\n", err)
			return
		}
	}
	fmt.Fprintf(w, "The whole trace is in trace.txt, trace.mmd and trace.jsonl in %s\n", dir)
}

func writeFile(path string, write func(io.Writer, Filter) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f, Filter{}), f.Close())
}
