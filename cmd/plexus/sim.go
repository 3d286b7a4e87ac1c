package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plexus-net/plexus/testnet"
)

type simOptions struct {
	nodes    int
	length   time.Duration
	seed     uint64
	scenario string
	target   int
	latency  time.Duration // 0: that of the scenario
	loss     float64       // -1: that of the scenario
	json     bool
	quiet    bool
	out      string
	trace    string
	of       []int // nodes that the trace is about
}

// Bounds of what flags of sim take.
const (
	shortestSim = time.Second
	longestSim  = 1000 * time.Hour
	maxLatency  = 10 * time.Second
	maxLoss     = 0.5
	maxTarget   = 64 // from which on discovery dials no more
)

func simCommand() *cobra.Command {
	var o simOptions
	c := &cobra.Command{
		Use:   "sim",
		Short: "Simulate a network on virtual time, from a seed",
		Long: `Simulate a network of real nodes on virtual time, and say what came of it. The
nodes run the batteries and call each other; all but the first know only the
first. Every node knows every other, which takes about 3 KiB for each pair of
them: 3 GiB for 1000 nodes; lookup does without. The same seed and flags give the same run, to the last event: compare
the field trace of --json, the hash of all events. Lines on how far it is go to
standard error. ^C ends it early, with a summary of what there was.

Scenarios:
` + scenarioList(),
		Example: "  plexus sim --nodes 1000 --for 10m --seed 7 --scenario churn --out plots",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sc, err := o.check(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return runSim(cmd.Context(), o, sc, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.IntVar(&o.nodes, "nodes", 100, fmt.Sprintf("number of nodes, 2 to %d; with lookup to %d", maxDiscovered, maxSimNodes))
	f.DurationVar(&o.length, "for", 5*time.Minute, "how much virtual time to simulate, such as 1h")
	f.Uint64Var(&o.seed, "seed", 1, "what decides all that is left to chance")
	f.StringVar(&o.scenario, "scenario", "calm", "what kind of network, and what happens to it")
	f.IntVar(&o.target, "target", 4, fmt.Sprintf("connections that a node keeps, if its buckets do not need more, 1 to %d", maxTarget))
	f.DurationVar(&o.latency, "latency", 0, "of links, one way, on average; default: the scenario's")
	f.Float64Var(&o.loss, "loss", 0, "share of what links lose, such as 0.01; default: the scenario's")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	f.StringVar(&o.out, "out", "", "directory for plots, as SVG")
	f.StringVar(&o.trace, "trace", "", fmt.Sprintf("file for the last %d million events: .txt, .jsonl, or .mmd for a Mermaid diagram", maxTraced/1_000_000))
	f.IntSliceVar(&o.of, "trace-node", nil, "node that the trace is about, by its number from 0 on; may be repeated; default: all")
	f.BoolVar(&o.quiet, "quiet", false, "do not tell how far it is")
	return c
}

// scenarioList has a line for each scenario.
func scenarioList() string {
	var b strings.Builder
	for _, s := range simScenarios() {
		fmt.Fprintf(&b, "  %-10s %s\n", s.name, s.about)
	}
	return strings.TrimRight(b.String(), "\n")
}

// check says what is wrong with the flags, and which scenario they name.
func (o *simOptions) check(set func(flag string) bool) (simScenario, error) {
	sc, err := findScenario(o.scenario)
	switch {
	case err != nil:
		return sc, err
	case o.nodes < 2 || o.nodes > maxSimNodes:
		return sc, fmt.Errorf("--nodes is %d; allowed are 2 to %d, with scenario lookup to %d", o.nodes, maxDiscovered, maxSimNodes)
	case o.nodes > sc.most:
		return sc, fmt.Errorf("--nodes is %d; allowed with scenario %s are 2 to %d, since every node knows every other; lookup takes up to %d", o.nodes, sc.name, sc.most, maxSimNodes)
	case o.length < shortestSim || o.length > longestSim:
		return sc, fmt.Errorf("--for is %v; allowed are lengths from %v to %.0fh, such as 10m", o.length, shortestSim, longestSim.Hours())
	case o.target < 1 || o.target > maxTarget:
		return sc, fmt.Errorf("--target is %d; allowed are 1 to %d", o.target, maxTarget)
	case set("target") && sc.wired:
		return sc, fmt.Errorf("--target is %d; allowed with scenario %s is none, since its nodes have a connection for each bucket", o.target, sc.name)
	case set("latency") && sc.regions:
		return sc, fmt.Errorf("--latency is %v; allowed with scenario %s is none, since it has latencies of its own", o.latency, sc.name)
	case set("latency") && (o.latency < time.Microsecond || o.latency > maxLatency):
		return sc, fmt.Errorf("--latency is %v; allowed are 1µs to %v, such as 40ms", o.latency, maxLatency)
	case set("loss") && !(o.loss >= 0 && o.loss <= maxLoss):
		return sc, fmt.Errorf("--loss is %v; allowed are shares from 0 to %v", o.loss, maxLoss)
	case len(o.of) > 0 && o.trace == "":
		return sc, fmt.Errorf("--trace-node is set without --trace; allowed is it with a file to write to")
	case slices.ContainsFunc(o.of, func(i int) bool { return i < 0 || i >= o.nodes }):
		return sc, fmt.Errorf("--trace-node is %v; allowed are 0 to %d", o.of, o.nodes-1)
	}
	if !set("loss") {
		o.loss = -1
	}
	return sc, nil
}

// runSim simulates a network and prints what came of it.
func runSim(ctx context.Context, o simOptions, sc simScenario, stdout, stderr io.Writer) error {
	observe, tracing, err := o.prepare()
	if err != nil {
		return err
	}
	p := newProgress(o, stderr)
	m := newMeter(ctx, o, sc, p)
	run := o.network(sc)
	run.Register, run.Drive = m.register, m.drive
	result, err := testnet.Run(o.seed, run, func(e *testnet.Event) {
		m.event(e)
		observe(e)
	})
	p.end()
	interrupted := errors.Is(err, errInterrupted)
	if interrupted {
		err = nil
	}
	if len(m.samples) == 0 {
		return err
	}
	r := m.report(result, interrupted, time.Since(p.began))
	if o.json {
		err = errors.Join(err, json.NewEncoder(stdout).Encode(r))
	} else {
		r.print(stdout)
	}
	if tracing != nil {
		err = errors.Join(err, tracing.save())
	}
	if o.out == "" {
		return err
	}
	files, wrong := m.plots(o.out)
	if !o.json {
		fmt.Fprintf(stdout, "%-12s %s in %s\n", "plots", strings.Join(files, ", "), o.out)
	}
	return errors.Join(err, wrong)
}

// prepare makes what is to be written to, so that a mistake shows at once, and
// not after an hour.
func (o simOptions) prepare() (observe func(*testnet.Event), t *tracer, err error) {
	observe = func(*testnet.Event) {}
	if o.out != "" {
		if err := os.MkdirAll(o.out, 0o755); err != nil {
			return nil, nil, err
		}
	}
	if o.trace == "" {
		return observe, nil, nil
	}
	if t, err = newTracer(o.trace, o.of); err != nil {
		return nil, nil, err
	}
	return t.event, t, t.save()
}
