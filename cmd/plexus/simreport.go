package main

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/plexus-net/plexus/testnet"
)

// A simReport is what came of a simulation: what --json prints. All but Real is
// the same for the same seed.
type simReport struct {
	Scenario    string            `json:"scenario"`
	Seed        uint64            `json:"seed"`
	Nodes       int               `json:"nodes"`
	Target      int               `json:"target,omitempty"`
	Seconds     float64           `json:"seconds"` // of virtual time
	Interrupted bool              `json:"interrupted"`
	Trace       string            `json:"trace"` // the hash of all events
	Events      uint64            `json:"events"`
	EventKinds  map[string]uint64 `json:"event_kinds"`
	Up          int               `json:"up"` // nodes, at the end
	Convergence simConvergence    `json:"convergence"`
	Map         *simMap           `json:"map,omitempty"`
	Connections simConnections    `json:"connections"`
	Calls       simCalls          `json:"calls"`
	Hops        simHops           `json:"hops"`
	Messages    simMessages       `json:"messages"`
	Faults      map[string]uint64 `json:"faults"`
	Real        simReal           `json:"real"`
}

type simConvergence struct {
	// Formed is when every node knew as many others as were up or, in a wired
	// network, had all its connections; null: never.
	Formed *float64 `json:"formed_seconds"`
	// Of a sample of nodes, at the end: the share of the nodes up that they
	// know, and of what they know that is not up.
	Known *float64 `json:"known_share,omitempty"`
	Stale *float64 `json:"stale_share,omitempty"`
}

type simMap struct {
	Writes int     `json:"writes"`
	Spread int     `json:"spread"` // writes that have reached all nodes up
	P50    float64 `json:"spread_p50_ms"`
	P90    float64 `json:"spread_p90_ms"`
	P99    float64 `json:"spread_p99_ms"`
	Equal  int     `json:"equal"` // nodes with the most common map, at the end
}

type simConnections struct {
	Mean float64 `json:"mean"` // of a node, at the end
	Min  int     `json:"min"`
	Max  int     `json:"max"`
}

type simCalls struct {
	Made       uint64            `json:"made"`
	Answered   uint64            `json:"answered"`
	Failed     uint64            `json:"failed"`
	Unfinished uint64            `json:"unfinished"` // at the end, or when their caller crashed
	Closest    *uint64           `json:"answered_by_closest,omitempty"`
	Failures   map[string]uint64 `json:"failures"`
	P50        float64           `json:"p50_ms"`
	P90        float64           `json:"p90_ms"`
	P99        float64           `json:"p99_ms"`
	Max        float64           `json:"max_ms"`
}

type simHops struct {
	Mean   float64 `json:"mean"` // of the calls that arrived
	P50    uint64  `json:"p50"`
	P90    uint64  `json:"p90"`
	P99    uint64  `json:"p99"`
	Max    uint64  `json:"max"`
	Routed float64 `json:"routed_mean"` // of all routed messages
}

type simMessages struct {
	Delivered      uint64  `json:"delivered"` // to behaviours and handlers
	Forwarded      uint64  `json:"forwarded"`
	Bytes          uint64  `json:"bytes"` // on links
	PerNodeSecond  float64 `json:"delivered_per_node_second"`
	BytesPerSecond float64 `json:"bytes_per_node_second"`
}

type simReal struct {
	Seconds         float64 `json:"seconds"`
	VirtualPerReal  float64 `json:"virtual_per_real"`
	EventsPerSecond float64 `json:"events_per_second"`
	HeapMiB         float64 `json:"heap_mib"`
}

func (m *meter) report(result testnet.Result, interrupted bool, took time.Duration) simReport {
	r := simReport{Scenario: m.scenario.name, Seed: m.opts.seed, Nodes: m.opts.nodes, Seconds: result.Took.Seconds(), Interrupted: interrupted,
		Trace: fmt.Sprintf("%016x", result.Hash), Events: result.Events, EventKinds: make(map[string]uint64), Faults: m.faults}
	for k, n := range m.kinds {
		if n > 0 {
			r.EventKinds[testnet.EventKind(k).String()] = n
		}
	}
	end := m.samples[len(m.samples)-1]
	r.Up = end.up
	r.Connections = simConnections{float64(end.conns) / float64(max(1, end.up)), end.fewest, end.most}
	if m.formed >= 0 {
		at := m.formed.Seconds()
		r.Convergence.Formed = &at
	}
	if !m.scenario.wired {
		r.Target = m.opts.target
		known, stale := end.knowledge()
		r.Convergence.Known, r.Convergence.Stale = &known, &stale
		r.Map = &simMap{m.writes, int(m.spread.n), inMS(m.spread.percentile(50)), inMS(m.spread.percentile(90)), inMS(m.spread.percentile(99)), end.maps}
	}
	rt, h := &m.roundTrips, &m.hops
	r.Calls = simCalls{Made: m.made, Answered: m.answered, Failed: m.failed, Unfinished: m.made - m.answered - m.failed, Failures: m.failures,
		P50: inMS(rt.percentile(50)), P90: inMS(rt.percentile(90)), P99: inMS(rt.percentile(99)), Max: inMS(rt.max)}
	if m.scenario.wired {
		r.Calls.Closest = &m.closest
	}
	r.Hops = simHops{Mean: h.mean(), P50: h.percentile(50), P90: h.percentile(90), P99: h.percentile(99), Max: h.max,
		Routed: float64(m.routed.hops) / float64(max(1, m.routed.arrived))}
	nodeSeconds := float64(m.opts.nodes) * r.Seconds
	r.Messages = simMessages{m.messages, m.routed.forwarded, m.bytes, ratio(float64(m.messages), nodeSeconds), ratio(float64(m.bytes), nodeSeconds)}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	r.Real = simReal{took.Seconds(), ratio(r.Seconds, took.Seconds()), ratio(float64(r.Events), took.Seconds()), float64(mem.HeapSys) / (1 << 20)}
	return r
}

// knowledge returns what share of the nodes up those asked know, and what share
// of those they know is not up.
func (p *simSample) knowledge() (known, stale float64) {
	if others := p.asked * (p.up - 1); others > 0 {
		known = float64(p.known) / float64(others)
	}
	return known, float64(p.stale) / float64(max(1, p.known+p.stale))
}

// ratio is a part of nothing, too.
func ratio(part, of float64) float64 {
	if of == 0 {
		return 0
	}
	return part / of
}

func inMS(ns uint64) float64 { return milliseconds(time.Duration(ns)) }

// print prints the report for people.
func (r simReport) print(w io.Writer) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	verb := ""
	if r.Interrupted {
		verb = ", interrupted"
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	row("simulated", "%s, seed %d: %d nodes for %v in %v, %.1f times as fast as real time%s", r.Scenario, r.Seed, r.Nodes,
		seconds(r.Seconds).Round(100*time.Millisecond), seconds(r.Real.Seconds).Round(100*time.Millisecond), r.Real.VirtualPerReal, verb)
	row("network", "%d nodes up, with %.1f connections each, %d to %d", r.Up, r.Connections.Mean, r.Connections.Min, r.Connections.Max)
	r.printConvergence(row)
	c := r.Calls
	row("calls", "%s made, %s answered, %s failed, %s unfinished", short(float64(c.Made)), short(float64(c.Answered)), short(float64(c.Failed)), short(float64(c.Unfinished)))
	if c.Closest != nil {
		row("", "%s answered by the node closest to the key", percent(float64(*c.Closest), float64(c.Answered)))
	}
	if c.Answered > 0 {
		row("", "round trip p50 %s, p90 %s, p99 %s, longest %s", span(c.P50), span(c.P90), span(c.P99), span(c.Max))
	}
	if c.Failed > 0 {
		row("", "failed: %s", tally(c.Failures))
	}
	row("hops", "%.1f on average, p50 %d, p90 %d, p99 %d, most %d; %.1f over all routed messages", r.Hops.Mean, r.Hops.P50, r.Hops.P90, r.Hops.P99, r.Hops.Max, r.Hops.Routed)
	row("traffic", "%.1f messages/s and %s/s to each node; %s messages and %s together, %s messages forwarded", r.Messages.PerNodeSecond, size(r.Messages.BytesPerSecond),
		short(float64(r.Messages.Delivered)), size(float64(r.Messages.Bytes)), short(float64(r.Messages.Forwarded)))
	if len(r.Faults) > 0 {
		row("faults", "%s", tally(r.Faults))
	}
	row("events", "%s, %s/s in real time: %s", short(float64(r.Events)), short(r.Real.EventsPerSecond), tally(r.EventKinds))
	row("memory", "%.0f MiB of heap", r.Real.HeapMiB)
	row("trace", "%s", r.Trace)
}

func (r simReport) printConvergence(row func(name, format string, args ...any)) {
	what := "all nodes knew all others"
	if r.Map == nil {
		what = "all connections were there"
	}
	if r.Convergence.Formed != nil {
		row("convergence", "%s after %s", what, span(*r.Convergence.Formed*1000))
	} else {
		row("convergence", "there was no moment at which %s", what)
	}
	if r.Map == nil {
		return
	}
	row("", "at the end nodes knew %s of those up; %s of those they knew were not up", percent(*r.Convergence.Known, 1), percent(*r.Convergence.Stale, 1))
	s := r.Map
	row("shared map", "%d writes, of which %d reached all nodes up: p50 %s, p90 %s, p99 %s", s.Writes, s.Spread, span(s.P50), span(s.P90), span(s.P99))
	row("", "%d of %d nodes up had the same map at the end", s.Equal, r.Up)
}

// faultTexts say what is counted where the name of a fault does not.
var faultTexts = map[string]string{"block": "ways blocked", "unblock": "ways opened again", "clock": "clocks set wrong"}

// tally lists counts, the largest first.
func tally(counts map[string]uint64) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return int(int64(counts[b]) - int64(counts[a]))
		}
		return strings.Compare(a, b)
	})
	for i, n := range names {
		text := n
		if t, ok := faultTexts[n]; ok {
			text = t
		}
		names[i] = text + " " + short(float64(counts[n]))
	}
	return strings.Join(names, ", ")
}

// size writes a number of bytes.
func size(v float64) string {
	s := short(v)
	if !strings.Contains(s, " ") {
		s += " "
	}
	return s + "B"
}

// short writes a number with at most four digits and a unit.
func short(v float64) string {
	switch {
	case v >= 1e9:
		return fmt.Sprintf("%.2f G", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.2f M", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.1f k", v/1e3)
	}
	return fmt.Sprintf("%.0f", v)
}

// span writes a duration given in milliseconds.
func span(ms float64) string {
	switch {
	case ms >= 100_000:
		return time.Duration(ms * float64(time.Millisecond)).Round(time.Second).String()
	case ms >= 1000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 10:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.2f ms", ms)
}

// percent writes a share; only all is 100 %, and only nothing 0 %.
func percent(part, of float64) string {
	switch p := 100 * ratio(part, of); {
	case p == 0 || p == 100:
		return fmt.Sprintf("%.0f %%", p)
	case p < 0.1:
		return "less than 0.1 %"
	case p > 99.9:
		return "more than 99.9 %"
	default:
		return fmt.Sprintf("%.1f %%", p)
	}
}
