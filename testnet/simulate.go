package testnet

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/router/kademlia"
)

// A Scenario is a network and what happens to it, on virtual time; with [Live],
// in real time. Zero means the default. The same scenario and seed are the same
// simulation, to the last event.
type Scenario struct {
	// Nodes is how many there are. Default 2.
	Nodes int
	// Topology says who connects to whom at the start. Default None: the
	// behaviours do.
	Topology Topology
	// Router makes the routing table of a node. Default kademlia.New.
	Router func(self identity.NodeID) router.Table
	// Register puts behaviours on a node before it runs, and again whenever
	// it restarts.
	Register func(n *Node) error
	// Limits of every node, and whether its connections are durable.
	Limits  network.Limits
	Durable bool

	// Link is the way between any two nodes, Links that from one node to
	// another, where it is set.
	Link  Link
	Links func(from, to int) Link

	// Script is what happens when, and Faults what happens by chance.
	Script []Step
	Faults Chaos
	// Drive is the scenario's own code. It runs beside the network and may
	// wait, as in Sleep, Until, and blocking calls of nodes. The run does not
	// end before it returns.
	Drive func(s *Sim) error

	// For is how long the network runs. Default 1 min.
	For time.Duration
	// Always has to hold at every event and every second, Eventually at the
	// end, when faults have stopped for a while.
	Always     []Invariant
	Eventually []Invariant

	// Seeds is how many runs [Check] makes, with the seeds from 1 on. Default 20.
	Seeds int
	// Seed is the only one that Check runs. Default: all.
	Seed uint64
	// Log receives the logs of all nodes, with virtual times. Default: nothing.
	Log *slog.Logger
}

// renewal is how long a durable connection may be without one that carries it,
// until that is noticed and a little after.
func (sc *Scenario) renewal() time.Duration {
	if !sc.Durable {
		return 0
	}
	return cmp.Or(sc.Limits.ResumeTime, 30*time.Second) + 10*time.Second
}

// A Sim is a network that is simulated. It belongs to the goroutine that made
// it and to the functions that it runs. Time stands still but for when they
// wait: in Sleep, Until, Run, and in every call of a node that blocks. With
// [Live] time does not stand still, but these functions take turns all the same.
type Sim struct {
	Seed uint64

	scenario Scenario
	ctx      context.Context // ends with the run; in a simulation, never
	world    world
	nodes    []*Node
	rng      *rand.Rand
	watches  []watch
	observe  []func(*Event)
	failure  *Failure

	state      []snapshot // by node
	conditions *conditions
	traffic    map[*Traffic]*trafficRun
	byID       map[identity.NodeID]int
}

// Simulate starts a network for a test and lets it form: it returns when every
// node has started and every edge of the topology is a connection. The test goes
// on from there, and the simulation ends with it.
//
//	s := testnet.Simulate(t, 1, testnet.Scenario{Nodes: 5, Topology: testnet.Line, Register: register})
//	s.Partition(1, 2)
//	s.Sleep(time.Minute)
func Simulate(t testing.TB, seed uint64, sc Scenario) *Sim {
	t.Helper()
	s, err := begin(seed, sc, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("testnet: seed %d; after %v and %d events the hash is %016x", s.Seed, s.Now(), s.Events(), s.Hash())
			if s.failure != nil {
				t.Logf("testnet: %v", s.failure)
			}
		}
		s.close()
	})
	return s
}

const (
	defaultFor    = time.Minute
	maxSimulated  = 20000
	formationTime = 5 * time.Minute
	// overtime is how much longer than Scenario.For a world lasts, for those
	// who wait.
	overtime = 365 * 24 * time.Hour
)

func (sc Scenario) withDefaults() (Scenario, error) {
	if sc.Nodes == 0 {
		sc.Nodes = 2
	}
	if sc.Nodes < 1 || sc.Nodes > maxSimulated {
		return sc, fmt.Errorf("testnet: Scenario.Nodes is %d, want 1 to %d", sc.Nodes, maxSimulated)
	}
	if sc.Topology == nil {
		sc.Topology = None
	}
	if sc.Router == nil {
		sc.Router = func(self identity.NodeID) router.Table { return kademlia.New(self) }
	}
	if sc.For == 0 {
		sc.For = defaultFor
	}
	if sc.For < 0 {
		return sc, fmt.Errorf("testnet: Scenario.For is %v, want more than 0", sc.For)
	}
	if err := sc.Link.Check(); err != nil {
		return sc, err
	}
	return sc, sc.Faults.check()
}

// begin makes the world and its nodes, and lets them form. With observe, every
// event is shown to it.
func begin(seed uint64, sc Scenario, observe func(*Event)) (*Sim, error) {
	sc, err := sc.withDefaults()
	if err != nil {
		return nil, err
	}
	s := newSim(seed, sc)
	s.world = newSimulated(s)
	formed := false
	defer func() {
		if !formed { // it may have panicked
			s.close()
		}
	}()
	if observe != nil {
		s.observe = append(s.observe, observe)
	}
	if err := s.form(); err != nil {
		return nil, err
	}
	formed = true
	return s, nil
}

// newSim makes a Sim without a world.
func newSim(seed uint64, sc Scenario) *Sim {
	return &Sim{Seed: seed, scenario: sc, ctx: context.Background(), rng: rand.New(rand.NewPCG(seed, 0x706c65787573))}
}

// form begins the invariants and makes the network.
func (s *Sim) form() error {
	for _, i := range s.scenario.Always {
		s.watch(i)
	}
	err := s.populate()
	if err != nil && s.failure != nil {
		return s.failure
	}
	return err
}

// populate makes the nodes and their connections.
func (s *Sim) populate() error {
	for i := range s.scenario.Nodes {
		var seed [32]byte
		for j := range seed {
			seed[j] = byte(s.rng.Uint32())
		}
		key, err := identity.PrivateKeyFromSeed(seed[:])
		if err != nil {
			return err
		}
		n := &Node{Index: i, Key: key, Disk: newDisk()}
		s.nodes = append(s.nodes, n)
		s.world.place(n)
	}
	s.setClocks()
	for _, n := range s.nodes {
		if err := s.world.start(n); err != nil {
			return err
		}
	}
	edges := s.scenario.Topology(s.scenario.Nodes, s.rng)
	for _, e := range edges {
		n := s.nodes[e.From]
		n.edges = append(n.edges, e.To)
		if err := n.Add(s.nodes[e.To].Address()); err != nil {
			return err
		}
	}
	waiting := s.nodes
	return s.Until(formationTime, "the topology has formed", func() bool {
		for ; len(waiting) > 0; waiting = waiting[1:] {
			if !waiting[0].running() {
				return false
			}
		}
		for i, e := range edges {
			if !s.Connected(e.From, e.To) {
				edges = edges[i:]
				return false
			}
		}
		return true
	})
}

// running reports whether every behaviour of the node has started.
func (n *Node) running() bool {
	select {
	case <-n.Started():
		return true
	default:
		return false
	}
}

// close ends the world.
func (s *Sim) close() { s.world.Close() }

// Now returns how much virtual time has passed; with [Live], real time.
func (s *Sim) Now() time.Duration { return s.world.Now() }

// Nodes returns all nodes, those that are down too.
func (s *Sim) Nodes() []*Node { return s.nodes }

// Node returns the node with an index.
func (s *Sim) Node(i int) *Node { return s.nodes[i] }

// Rand returns random numbers of the seed, for the scenario's own code.
func (s *Sim) Rand() *rand.Rand { return s.rng }

// Hash returns a hash of all events so far, in their order; with [Live], 0.
func (s *Sim) Hash() uint64 { return s.world.Hash() }

// Events returns how many events there were; with [Live], how often one of the
// scenario's functions has begun or gone on.
func (s *Sim) Events() uint64 { return s.world.Events() }

// Sleep lets d pass.
func (s *Sim) Sleep(d time.Duration) {
	if err := s.world.Sleep(d); err != nil {
		panic(fmt.Sprintf("testnet: Sleep: %v", err))
	}
}

// Context returns a context that never ends, for calls that want one. Those of
// package context end on real time; in a simulation bound calls in other ways,
// such as [rpc.Method.Within]. With [Live] it ends with the run.
func (s *Sim) Context() context.Context { return s.ctx }

// Go runs f beside the caller. It may wait.
func (s *Sim) Go(f func()) { s.world.Go(f) }

// Until lets time pass until cond holds, at most d. It looks at first every
// millisecond, and every second where nothing has come of it for long.
func (s *Sim) Until(d time.Duration, what string, cond func() bool) error {
	end, step := s.Now()+d, time.Millisecond
	for !cond() {
		if s.Now() >= end {
			return fmt.Errorf("testnet: %v have passed, and not yet: %s", d, what)
		}
		s.Sleep(min(step, end-s.Now()))
		if step = step * 5 / 4; step > time.Second {
			step = time.Second
		}
	}
	return nil
}

// Connected reports whether node a has an open connection to node b.
func (s *Sim) Connected(a, b int) bool {
	return s.world.up(s.nodes[a]) && connected(s.nodes[a].Node, s.nodes[b].Key.ID())
}
