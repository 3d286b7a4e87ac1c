package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/testnet"
)

// A meter drives a simulation and measures it from outside. Whoever uses it
// runs in the simulation, one at a time.
type meter struct {
	opts     simOptions
	scenario simScenario
	ctx      context.Context // of the command: ends with ^C
	progress *progress
	sim      *testnet.Sim // nil before the first moment

	first *testnet.Node
	nodes []*simNode
	ids   []identity.NodeID
	keys  []identity.Key
	index map[identity.NodeID]int
	byKey []int // nodes in the order of their keys, where they are wired
	edges int

	// Of events.
	kinds    [eventKinds]uint64
	messages uint64
	bytes    uint64
	faults   map[string]uint64

	// Of calls.
	made, answered, failed, closest uint64
	failures                        map[string]uint64
	roundTrips, hops                histogram

	// Of the shared map.
	writes  int
	pending []*simWrite
	spread  histogram

	formed  time.Duration // when all knew all; -1: not yet
	samples []*simSample
	last    []counted
	routed  counts
}

// eventKinds bounds testnet.EventKind.
const eventKinds = 16

// A counted is a node and what its counters said.
type counted struct {
	node *network.Node
	counts
}

// counts are counters of package network that matter here.
type counts struct{ forwarded, arrived, hops uint64 }

func (c counts) plus(a, b counts) counts {
	return counts{c.forwarded + a.forwarded - b.forwarded, c.arrived + a.arrived - b.arrived, c.hops + a.hops - b.hops}
}

// A simWrite is an entry of the shared map that spreads.
type simWrite struct {
	key, value string
	at         time.Duration
	missing    []int // nodes that have not got it
}

// A simSample is what there was at a moment.
type simSample struct {
	at                time.Duration
	up, conns         int
	fewest, most      int
	low, high         int // what nine of ten nodes have at least, and at most
	maps              int // nodes with the most common map
	asked             int // nodes that have been asked whom they know
	known, stale      int // of all that they know: nodes that are up, and others
	messages, answers uint64
	forwarded         uint64
	kinds             [eventKinds]uint64
}

const (
	slice        = 100 * time.Millisecond // between looks
	mostSamples  = 120                    // in a run, about
	leastSamples = 30
	nodeSamples  = 60_000                 // samples times nodes, each of which takes a while
	oftenest     = 500 * time.Millisecond // between samples
	askedNodes   = 32                     // in a sample
	settle       = time.Millisecond
	writeEvery   = 5 * time.Second
	writeKeys    = 1024
	writeAfter   = 30 * time.Second // if the network has not formed before
)

// errInterrupted ends a run at ^C.
var errInterrupted = errors.New("interrupted")

func newMeter(ctx context.Context, o simOptions, sc simScenario, p *progress) *meter {
	return &meter{opts: o, scenario: sc, ctx: ctx, progress: p, nodes: make([]*simNode, o.nodes), ids: make([]identity.NodeID, o.nodes), keys: make([]identity.Key, o.nodes),
		last: make([]counted, o.nodes), faults: make(map[string]uint64), failures: make(map[string]uint64), formed: -1}
}

// event counts what happens.
func (m *meter) event(e *testnet.Event) {
	m.kinds[e.Kind%eventKinds]++
	switch e.Kind {
	case testnet.EventDeliver, testnet.EventDatagram:
		m.bytes += uint64(e.Size)
	case testnet.EventCall:
		if e.Name == "OnMessage" {
			m.messages++
		}
	case testnet.EventFault:
		m.faults[e.Name]++
	default:
	}
	if e.ID%4096 == 0 && m.sim != nil {
		m.progress.show(m.sim.Now(), e.ID, m.upNow)
	}
}

// drive runs beside the network until its time is up.
func (m *meter) drive(s *testnet.Sim) error {
	m.sim = s
	m.index = make(map[identity.NodeID]int, len(m.ids))
	for i, id := range m.ids {
		m.index[id] = i
	}
	if m.scenario.wired {
		if err := m.wire(s); err != nil {
			return err
		}
	}
	began := s.Now()
	end := began + m.opts.length - 2*settle
	every := max(oftenest, (m.opts.length / m.samplesMade()).Round(slice))
	nextSample, nextWrite := began, began
	for s.Now() < end && m.ctx.Err() == nil {
		if s.Now() >= nextSample {
			m.sample()
			nextSample += every
		}
		s.Sleep(min(slice, end-s.Now()))
		m.look()
		m.progress.show(s.Now(), s.Events(), m.upNow)
		if s.Now() >= nextWrite && m.writing(s.Now()-began) {
			m.write()
			nextWrite = s.Now() + writeEvery
		}
	}
	m.sample()
	s.Sleep(settle) // those that have been asked answer
	if m.ctx.Err() != nil {
		return errInterrupted
	}
	return nil
}

// samplesMade is how many samples are made in a run, about.
func (m *meter) samplesMade() time.Duration {
	return time.Duration(min(mostSamples, max(leastSamples, nodeSamples/len(m.nodes))))
}

// writing reports whether to write to the shared map at a time of the run:
// once the network has formed, and not so late that it cannot spread.
func (m *meter) writing(at time.Duration) bool {
	return !m.scenario.wired && (m.formed >= 0 || at > writeAfter) && at < m.opts.length-min(writeAfter, m.opts.length/5)
}

// upNow counts the nodes that are up.
func (m *meter) upNow() (n int) {
	for i := range m.nodes {
		if m.sim.Up(i) {
			n++
		}
	}
	return n
}

// look follows what forms and spreads.
func (m *meter) look() {
	if m.formed < 0 && m.allKnow() {
		m.formed = m.sim.Now()
	}
	m.pending = slices.DeleteFunc(m.pending, func(w *simWrite) bool {
		reachable := 0
		w.missing = slices.DeleteFunc(w.missing, func(i int) bool {
			if !m.sim.Up(i) {
				return false
			}
			v, _ := m.nodes[i].state.Get(w.key)
			if string(v) != w.value {
				reachable++
			}
			return string(v) == w.value
		})
		if reachable == 0 {
			m.spread.add(uint64(m.sim.Now() - w.at))
		}
		return reachable == 0
	})
}

// allKnow reports whether every node that is up knows as many others as are up
// or, in a wired network, whether all connections are there.
func (m *meter) allKnow() bool {
	if m.scenario.wired {
		if m.sim.Now()%time.Second != 0 {
			return false // it takes a while to find out
		}
		ends := 0
		for _, n := range m.sim.Nodes() {
			ends += len(n.State().Conns)
		}
		return ends >= 2*m.edges
	}
	up := m.upNow()
	for i, n := range m.nodes {
		if m.sim.Up(i) && n.discovery.Known() < up-1 {
			return false
		}
	}
	return true
}

// write has a random node write to the shared map.
func (m *meter) write() {
	i := m.sim.Rand().IntN(len(m.nodes))
	if !m.sim.Up(i) {
		return
	}
	m.writes++
	w := &simWrite{key: fmt.Sprintf("key/%d", m.writes%writeKeys), value: fmt.Sprint(m.writes), at: m.sim.Now()}
	for j := range m.nodes {
		w.missing = append(w.missing, j)
	}
	m.pending = slices.DeleteFunc(m.pending, func(old *simWrite) bool { return old.key == w.key })
	m.pending = append(m.pending, w)
	at := m.nodes[i].state
	m.sim.Go(func() {
		if err := at.Set(m.sim.Context(), w.key, []byte(w.value)); err != nil { // the node stops
			m.writes--
			m.pending = slices.DeleteFunc(m.pending, func(x *simWrite) bool { return x == w })
		}
	})
}

// sample notes what there is at this moment.
func (m *meter) sample() {
	p := &simSample{at: m.sim.Now(), messages: m.messages, answers: m.answered, kinds: m.kinds}
	var conns []int // of each node
	roots := make(map[[32]byte]int)
	for i, n := range m.sim.Nodes() {
		if !m.sim.Up(i) {
			continue
		}
		st := n.State()
		p.up++
		p.conns += len(st.Conns)
		conns = append(conns, len(st.Conns))
		now := counts{st.Counters["routed_forwarded"], st.Counters["routed_arrived"], st.Counters["routed_hops"]}
		if m.last[i].node != n.Node { // it has begun anew
			m.last[i] = counted{node: n.Node}
		}
		m.routed = m.routed.plus(now, m.last[i].counts)
		m.last[i].counts = now
		if !m.scenario.wired {
			root := m.nodes[i].state.Root()
			roots[root]++
			p.maps = max(p.maps, roots[root])
		}
	}
	if slices.Sort(conns); p.up > 0 {
		p.fewest, p.low, p.high, p.most = conns[0], conns[p.up/10], conns[p.up-1-p.up/10], conns[p.up-1]
	}
	p.forwarded = m.routed.forwarded
	m.samples = append(m.samples, p)
	if !m.scenario.wired {
		for k := range min(askedNodes, len(m.nodes)) {
			m.ask(p, k*len(m.nodes)/min(askedNodes, len(m.nodes)))
		}
	}
}

// ask has a node tell whom it knows.
func (m *meter) ask(p *simSample, i int) {
	if !m.sim.Up(i) {
		return
	}
	d := m.nodes[i].discovery
	m.sim.Go(func() {
		peers, err := d.Peers(m.sim.Context())
		if err != nil || m.sim.Now()-p.at > slice { // it stops, or pauses
			return
		}
		p.asked++
		for _, x := range peers {
			if m.sim.Up(m.index[x.ID]) {
				p.known++
			} else {
				p.stale++
			}
		}
	})
}
