package testnet

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/internal/sim"
)

var errStopped = agent.ErrStopped

// A Step is something that happens at a moment of a scenario: see At.
type Step struct {
	at time.Duration
	Fault
}

// A Fault is something that happens to a network.
type Fault struct {
	name  string
	nodes []int // whom it is about
	do    func(s *Sim)

	virtual bool // only a simulation can do it
}

// String returns what happens, and to whom.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.name)
	for _, n := range f.nodes {
		fmt.Fprintf(&b, " node%d", n)
	}
	return b.String()
}

// String returns what happens when.
func (s Step) String() string { return fmt.Sprintf("%v: %v", s.at, s.Fault) }

// At has a fault happen when some time of the run has passed.
func At(t time.Duration, f Fault) Step { return Step{t, f} }

// Partition keeps two nodes apart: nothing gets from one to the other. Their
// connection waits, and ends when it has been silent for Limits.IdleTime.
func Partition(a, b int) Fault {
	return Fault{name: "partition", nodes: []int{a, b}, do: func(s *Sim) { s.Partition(a, b) }}
}

// Heal ends a Partition, whole or one-way.
func Heal(a, b int) Fault {
	return Fault{name: "heal", nodes: []int{a, b}, do: func(s *Sim) { s.Heal(a, b) }}
}

// OneWay stops what one node sends to another, but not the other way.
func OneWay(from, to int) Fault {
	return Fault{virtual: true, name: "one-way partition", nodes: []int{from, to}, do: func(s *Sim) { s.world.block(s.nodes[from], s.nodes[to]) }}
}

// Split keeps the nodes of a group apart from all others.
func Split(group ...int) Fault {
	return Fault{name: "split off", nodes: group, do: func(s *Sim) { s.split(group, true) }}
}

// Rejoin ends a Split of the same group.
func Rejoin(group ...int) Fault {
	return Fault{name: "rejoin", nodes: group, do: func(s *Sim) { s.split(group, false) }}
}

// Cut breaks the connection between two nodes, at a random byte of what is
// under way.
func Cut(a, b int) Fault {
	return Fault{name: "cut", nodes: []int{a, b}, do: func(s *Sim) { s.Cut(a, b) }}
}

// Crash ends a node as a loss of power does: nobody is told.
func Crash(i int) Fault {
	return Fault{name: "crash", nodes: []int{i}, do: func(s *Sim) { s.Crash(i) }}
}

// Restart starts a node that has crashed or stopped, with its key and address.
func Restart(i int) Fault {
	return Fault{name: "restart", nodes: []int{i}, do: func(s *Sim) { s.restart(i) }}
}

// Pause stops a node for a while, as a long collection of garbage or a machine
// that is moved does.
func Pause(i int, d time.Duration) Fault {
	return Fault{virtual: true, name: fmt.Sprintf("pause for %v", d), nodes: []int{i}, do: func(s *Sim) {
		s.host(i).Pause()
		s.world.At(d, s.host(i).Resume)
	}}
}

// Slow has everything that reaches a node take cost.
func Slow(i int, cost time.Duration) Fault {
	return Fault{virtual: true, name: fmt.Sprintf("slow by %v", cost), nodes: []int{i}, do: func(s *Sim) { s.host(i).SetCost(cost) }}
}

// Clock sets the clock of a node ahead, or behind, and has it gain drift
// seconds in each second.
func Clock(i int, ahead time.Duration, drift float64) Fault {
	return Fault{virtual: true, name: fmt.Sprintf("clock ahead by %v, drifting by %v", ahead, drift), nodes: []int{i}, do: func(s *Sim) { s.host(i).SetClock(ahead, drift) }}
}

// Partition keeps two nodes apart, as the fault of that name.
func (s *Sim) Partition(a, b int) {
	s.world.block(s.nodes[a], s.nodes[b])
	s.world.block(s.nodes[b], s.nodes[a])
}

// Heal ends a Partition.
func (s *Sim) Heal(a, b int) {
	s.world.unblock(s.nodes[a], s.nodes[b])
	s.world.unblock(s.nodes[b], s.nodes[a])
}

// Cut breaks the connection between two nodes.
func (s *Sim) Cut(a, b int) { s.world.cut(s.nodes[a], s.nodes[b]) }

// Crash ends a node without a word to anybody. With [Live] it waits until
// nothing of the node runs any more.
func (s *Sim) Crash(i int) {
	if s.Up(i) {
		s.world.crash(s.nodes[i])
	}
}

// Inflict has a fault happen now. With [Live], one that only a simulation can do
// fails the run.
func (s *Sim) Inflict(f Fault) {
	if _, yes := s.world.(*simulated); f.virtual && !yes {
		s.fail(f.String(), errVirtual)
		return
	}
	f.do(s)
}

// Restart starts a node again that has crashed or stopped.
func (s *Sim) Restart(i int) error {
	n := s.nodes[i]
	if s.Up(i) || n.closing && s.world.up(n) {
		return fmt.Errorf("testnet: node %d runs", i)
	}
	if err := s.world.revive(n); err != nil {
		return err
	}
	n.stopped = false
	if err := s.world.start(n); err != nil {
		return err
	}
	for _, to := range n.edges {
		if err := n.Add(s.nodes[to].Address()); err != nil {
			return err
		}
	}
	return nil
}

// Stop stops a node in good order and waits until it has.
func (s *Sim) Stop(i int) error {
	n := s.nodes[i]
	if n.stopped || !s.world.up(n) {
		return fmt.Errorf("testnet: node %d does not run", i)
	}
	n.stopped, n.closing = true, true
	defer func() { n.closing = false }()
	return s.world.stop(n)
}

// Up reports whether a node runs: it has neither crashed nor been stopped.
func (s *Sim) Up(i int) bool { return s.world.up(s.nodes[i]) && !s.nodes[i].stopped }

func (s *Sim) restart(i int) {
	if s.nodes[i].closing {
		s.world.At(100*time.Millisecond, func() { s.restart(i) })
		return
	}
	if err := s.Restart(i); err != nil && !s.Up(i) {
		s.fail("restart", err)
	}
}

// split blocks, or unblocks, the ways between a group and the others.
func (s *Sim) split(group []int, apart bool) {
	in := make(map[int]bool)
	for _, i := range group {
		in[i] = true
	}
	for a := range s.nodes {
		for b := range s.nodes {
			switch {
			case in[a] == in[b]:
			case apart:
				s.world.block(s.nodes[a], s.nodes[b])
			default:
				s.world.unblock(s.nodes[a], s.nodes[b])
			}
		}
	}
}

// Chaos is what happens by chance, from the seed. Shares are per minute of
// virtual time; zero means never.
type Chaos struct {
	Crash     float64 // share of the nodes that crash
	Stop      float64 // share of the nodes that are stopped in good order
	Pause     float64 // share of the nodes that pause
	Cut       float64 // share of the nodes that lose a connection
	Partition float64 // share of the pairs of neighbours that are kept apart
	OneWay    float64 // share of the pairs of neighbours of which one does not reach the other
	Split     float64 // times that a random half of the network is split off
	Slow      float64 // share of the nodes that become slow: all that reaches them takes up to 10 ms
	FullDisk  float64 // share of the nodes whose disks are full

	// Down bounds how long crashed and stopped nodes are down, pauses and
	// partitions last. Default 20 s.
	Down time.Duration
	// ClockSkew bounds how far clocks are ahead or behind, and ClockDrift how
	// much they gain or lose.
	ClockSkew  time.Duration
	ClockDrift float64
	// Calm is how long before the end the last of it has to be over. Default a
	// third of Scenario.For.
	Calm time.Duration
}

func (c Chaos) check() error {
	for _, f := range []struct {
		name  string
		value float64
	}{{"Crash", c.Crash}, {"Stop", c.Stop}, {"Pause", c.Pause}, {"Cut", c.Cut}, {"Partition", c.Partition}, {"OneWay", c.OneWay}, {"Split", c.Split}, {"Slow", c.Slow}, {"FullDisk", c.FullDisk}, {"ClockDrift", c.ClockDrift}} {
		if !(f.value >= 0 && f.value <= 1000) {
			return fmt.Errorf("testnet: Chaos.%s is %v, want 0 to 1000", f.name, f.value)
		}
	}
	if c.Down < 0 || c.Calm < 0 || c.ClockSkew < 0 {
		return errors.New("testnet: Chaos has a negative duration")
	}
	return nil
}

// plan draws all that is going to happen by chance, in the order of time, so
// that a failing run can be made smaller by leaving some of it out.
func (s *Sim) plan() []Step {
	c := s.scenario.Faults
	calm, down := c.Calm, c.Down
	if calm == 0 {
		calm = s.scenario.For / 3
	}
	if down == 0 {
		down = 20 * time.Second
	}
	span := s.scenario.For - calm
	if span <= 0 {
		return nil
	}
	nodes := float64(len(s.nodes))
	var steps []Step
	// draw adds what happens rate times a minute, with what ends it.
	draw := func(rate float64, make func() (Fault, Fault)) {
		for at := time.Duration(0); rate > 0; {
			at += time.Duration(s.rng.ExpFloat64() / rate * float64(time.Minute))
			if at >= span {
				return
			}
			begin, end := make()
			steps = append(steps, At(at, begin))
			if end.do != nil {
				over := at + time.Millisecond + time.Duration(s.rng.Int64N(int64(down)))
				steps = append(steps, At(min(over, span), end))
			}
		}
	}
	node := func() int { return s.rng.IntN(len(s.nodes)) }
	pair := func() (int, int) {
		a := node()
		return a, (a + 1 + s.rng.IntN(max(1, len(s.nodes)-1))) % len(s.nodes)
	}
	draw(c.Crash*nodes, func() (Fault, Fault) { i := node(); return s.ifUp(i, Crash(i)), Restart(i) })
	draw(c.Stop*nodes, func() (Fault, Fault) { i := node(); return s.ifUp(i, s.stopping(i)), Restart(i) })
	draw(c.Pause*nodes, func() (Fault, Fault) {
		return Pause(node(), 1+time.Duration(s.rng.Int64N(int64(down)))), Fault{}
	})
	draw(c.Cut*nodes, func() (Fault, Fault) { i := node(); return s.cutOne(i, s.rng.Uint64()), Fault{} })
	draw(c.Partition*nodes, func() (Fault, Fault) { a, b := pair(); return Partition(a, b), Heal(a, b) })
	draw(c.OneWay*nodes, func() (Fault, Fault) { a, b := pair(); return OneWay(a, b), Heal(a, b) })
	draw(c.Slow*nodes, func() (Fault, Fault) {
		i := node()
		return Slow(i, 1+time.Duration(s.rng.Int64N(int64(mostSlow)))), Slow(i, 0)
	})
	draw(c.FullDisk*nodes, func() (Fault, Fault) { i := node(); return FillDisk(i), FreeDisk(i) })
	draw(c.Split, func() (Fault, Fault) {
		half := s.rng.Perm(len(s.nodes))[:len(s.nodes)/2]
		return Split(half...), Rejoin(half...)
	})
	return steps
}

// mostSlow is what everything takes on the slowest of nodes.
const mostSlow = 10 * time.Millisecond

func (s *Sim) ifUp(i int, f Fault) Fault {
	return Fault{name: f.name, nodes: f.nodes, do: func(s *Sim) {
		if s.Up(i) {
			f.do(s)
		}
	}}
}

func (s *Sim) stopping(i int) Fault {
	return Fault{name: "stop", nodes: []int{i}, do: func(s *Sim) {
		s.Go(func() {
			if !s.Up(i) { // by now
				return
			}
			if err := s.Stop(i); err != nil && s.world.up(s.nodes[i]) {
				s.fail("stop", err)
			}
		})
	}}
}

// cutOne cuts one of a node's connections.
func (s *Sim) cutOne(i int, chance uint64) Fault {
	return Fault{name: "cut a connection", nodes: []int{i}, do: func(s *Sim) {
		if !s.Up(i) {
			return
		}
		conns := s.nodes[i].State().Conns
		if len(conns) == 0 {
			return
		}
		for _, n := range s.nodes {
			if n.Key.ID() == conns[chance%uint64(len(conns))].Node {
				s.Cut(i, n.Index)
			}
		}
	}}
}

// setClocks draws how clocks differ.
func (s *Sim) setClocks() {
	c := s.scenario.Faults
	for _, n := range s.nodes {
		var ahead time.Duration
		if c.ClockSkew > 0 {
			ahead = time.Duration(s.rng.Int64N(int64(2*c.ClockSkew))) - c.ClockSkew
		}
		if drift := (2*s.rng.Float64() - 1) * c.ClockDrift; ahead != 0 || drift != 0 {
			n.host.SetClock(ahead, drift)
		}
	}
}

// host is for what only a simulation has.
func (s *Sim) host(i int) *sim.Host { return s.nodes[i].host }
