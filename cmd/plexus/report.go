package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/plexus-net/plexus/identity"
)

// A report is what --json prints, once a second and at the end.
type report struct {
	Seconds     float64 `json:"seconds"`
	Final       bool    `json:"final"`
	Nodes       int     `json:"nodes"`
	Discovered  int     `json:"discovered"`  // nodes that know all others
	Connections int     `json:"connections"` // each counted once
	Converged   bool    `json:"converged"`   // every node has the same shared map
	Keys        int     `json:"keys"`        // of the shared map
	Messages    uint64  `json:"messages"`    // routed messages that arrived
	MultiHop    uint64  `json:"multi_hop"`   // of those, over more than one hop
	Hops        float64 `json:"hops"`        // of a message, on average
	Forwarded   uint64  `json:"forwarded"`
	Calls       uint64  `json:"calls"` // that were answered
	CallsPerSec float64 `json:"calls_per_second"`
	Errors      uint64  `json:"errors"`
	LastError   string  `json:"last_error,omitempty"`
	P50         float64 `json:"rtt_p50_ms"` // round-trip times of calls
	P90         float64 `json:"rtt_p90_ms"`
	P99         float64 `json:"rtt_p99_ms"`
	Link        float64 `json:"link_rtt_ms"` // of connections, on average

	rows []row
}

// A row is a node in the table.
type row struct {
	id                  string
	conns, known        int
	rtt                 time.Duration
	hops                float64
	received, forwarded uint64
	calls, errors       uint64
}

// report prints until ctx ends.
func (s *swarm) report(ctx context.Context, out *screen) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var before report
	for {
		select {
		case <-t.C:
			r := s.snapshot(before)
			out.show(r)
			before = r
		case <-ctx.Done():
			r := s.snapshot(before)
			r.Final = true
			r.CallsPerSec = float64(r.Calls) / r.Seconds
			out.show(r)
			return
		}
	}
}

func (s *swarm) snapshot(before report) report {
	r := report{Seconds: time.Since(s.began).Seconds(), Nodes: len(s.members), Converged: true}
	var hops uint64
	var rtts time.Duration
	var links int
	seen := make(map[[2]identity.NodeID]bool)
	root := s.members[0].State.Root()
	for _, m := range s.members {
		st := m.Node.Node.State()
		for _, c := range st.Conns {
			pair := [2]identity.NodeID{m.Self(), c.Node}
			if pair[0].Compare(pair[1]) > 0 {
				pair[0], pair[1] = pair[1], pair[0]
			}
			seen[pair] = true
		}
		w := row{id: m.Self().Short(), conns: len(st.Conns), known: m.Discovery.Known(), received: m.demo.received.Load(),
			forwarded: st.Counters["routed_forwarded"], calls: m.calls.Load(), errors: m.errors.Load()}
		peers := m.Latency.Peers()
		for _, p := range peers {
			w.rtt += p.RTT / time.Duration(len(peers))
			rtts += p.RTT
			links++
		}
		if w.received > 0 {
			w.hops = float64(m.demo.hops.Load()) / float64(w.received)
		}
		r.rows = append(r.rows, w)
		r.Messages += w.received
		r.MultiHop += m.demo.multihop.Load()
		hops += m.demo.hops.Load()
		r.Forwarded += w.forwarded
		r.Calls += w.calls
		r.Errors += w.errors
		if w.known == len(s.members)-1 {
			r.Discovered++
		}
		r.Converged = r.Converged && m.State.Root() == root
		if e := m.last.Load(); e != nil {
			r.LastError = *e
		}
	}
	r.Connections, r.Keys = len(seen), len(s.members[0].State.Keys(""))
	if r.Messages > 0 {
		r.Hops = float64(hops) / float64(r.Messages)
	}
	if links > 0 {
		r.Link = milliseconds(rtts / time.Duration(links))
	}
	if d := r.Seconds - before.Seconds; d > 0 {
		r.CallsPerSec = float64(r.Calls-before.Calls) / d
	}
	r.P50, r.P90, r.P99 = s.percentiles()
	return r
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (s *swarm) percentiles() (p50, p90, p99 float64) {
	s.mu.Lock()
	rtts := slices.Clone(s.rtts)
	s.mu.Unlock()
	if len(rtts) == 0 {
		return 0, 0, 0
	}
	slices.Sort(rtts)
	at := func(p int) float64 { return milliseconds(rtts[(len(rtts)-1)*p/100]) }
	return at(50), at(90), at(99)
}

// A screen shows reports: a table that is redrawn on a terminal, else lines.
type screen struct {
	w    io.Writer
	json bool
	tty  bool
	hint string
	rows int // lines to go up before the next table
}

func newScreen(asJSON bool, ctl *control) *screen {
	c := &screen{w: os.Stdout, json: asJSON, tty: !asJSON && term.IsTerminal(int(os.Stdout.Fd()))}
	if ctl != nil {
		c.hint = "try, in another terminal:  plexus peers;  plexus call service:71 time;  plexus call key:colour whoami" + ctl.flag()
	}
	return c
}

func (c *screen) show(r report) {
	switch {
	case c.json:
		_ = json.NewEncoder(c.w).Encode(r) // a reader that has gone away needs no report
	case c.tty:
		c.table(r)
	default:
		fmt.Fprintln(c.w, r.line())
		if c.hint != "" {
			fmt.Fprintln(c.w, c.hint)
			c.hint = ""
		}
	}
}

func (r report) line() string {
	verb := "running"
	if r.Final {
		verb = "ran"
	}
	converged := "converged"
	if !r.Converged {
		converged = "converging"
	}
	s := fmt.Sprintf("%s %.0f s: %d nodes (%d know all), %d connections of %.2f ms; %d messages over %.1f hops, %d over several; %d calls (%.0f/s), p50 %.2f p99 %.2f ms; map of %d keys %s; %d errors",
		verb, r.Seconds, r.Nodes, r.Discovered, r.Connections, r.Link, r.Messages, r.Hops, r.MultiHop, r.Calls, r.CallsPerSec, r.P50, r.P99, r.Keys, converged, r.Errors)
	if r.LastError != "" {
		s += " (last: " + r.LastError + ")"
	}
	return s
}

// table redraws the table in place.
func (c *screen) table(r report) {
	width, height, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		width, height = 80, 24
	}
	var lines []string
	lines = append(lines, fmt.Sprintf("%-10s %5s %5s %9s %5s %9s %9s %8s %6s", "node", "conns", "known", "rtt ms", "hops", "received", "forwarded", "calls", "errors"))
	for i, w := range r.rows {
		if i >= max(1, height-8) {
			lines = append(lines, fmt.Sprintf("... and %d more nodes", len(r.rows)-i))
			break
		}
		lines = append(lines, fmt.Sprintf("%-10s %5d %5d %9.2f %5.1f %9d %9d %8d %6d", w.id, w.conns, w.known, milliseconds(w.rtt), w.hops, w.received, w.forwarded, w.calls, w.errors))
	}
	lines = append(lines, "")
	for rest := r.line(); rest != ""; {
		n := min(len(rest), max(20, width-1))
		lines = append(lines, rest[:n])
		rest = rest[n:]
	}
	for rest := c.hint; rest != ""; {
		n := min(len(rest), max(20, width-1))
		lines = append(lines, rest[:n])
		rest = rest[n:]
	}
	var b strings.Builder
	if c.rows > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r\x1b[J", c.rows)
	}
	for _, l := range lines {
		b.WriteString(l)
		b.WriteString("\n")
	}
	c.rows = len(lines)
	_, _ = io.WriteString(c.w, b.String()) // a terminal that has gone away needs no table
}
