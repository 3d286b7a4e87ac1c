package testnet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/rpc"
)

// Live runs a scenario once in real time, over "mem", or over sockets, "tcp" or
// "quic", on loopback. Keys, topology, what chance plans and what Rand returns
// are those of [Run] with the same seed; when things happen is not. The error is
// a [*Failure] where the run did not end well, and the cause of ctx where that
// has ended the run.
//
// Not everything can be made real. A scenario is refused, with one error that
// names all of it, where it has: a Link or Links; Chaos.Pause, OneWay, Slow,
// ClockSkew or ClockDrift, and steps of that sort; invariants that watch events,
// as [Paired] and [NoLeaks] do, and with them [Traffic]. Those that look at the
// network remain, such as Bounded, NoPanics, LoopFree, Reachable, OneOwner and
// Holds; what they see of several nodes is not of quite the same moment.
//
// What happens differs in these ways:
//
//   - Partition and Split break connections at once, and prevent others; in a
//     simulation connections wait, and go on after Heal.
//   - Cut breaks a connection at a byte that nobody chooses.
//   - Crash breaks the connections of the node without a goodbye and closes its
//     listeners. Its peers learn of it at once, since their ends break too.
//     Callbacks of the node, such as OnStop, still run, but reach nobody, and what
//     they write to the Disk is forgotten.
//   - A call of a node that is down already does not wait, but fails with
//     agent.ErrStopped or rpc.Stopped. In [Sim.Do] that is ErrCrashed all the same.
//
// The functions of the scenario take turns, as they do in a simulation: Register,
// Drive, what Go starts, steps and invariants. They hand over where they wait, in
// methods of Sim and in calls of nodes that block, and need no locks among
// themselves. Behaviours run beside them, each on its own goroutine: what these
// share with the functions of the scenario needs a lock, or atomics.
//
// Live returns when all that it has started has ended. Functions of the scenario
// that still run when ctx ends do so where they next wait in a method of Sim.
func Live(ctx context.Context, transport string, seed uint64, sc Scenario) (r Result, err error) {
	r.Seed = seed
	if sc, err = sc.withDefaults(); err != nil {
		return r, err
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	l := newLive(inner, transport, newSim(seed, sc))
	if err := l.refuse(transport); err != nil {
		return r, err
	}
	finished, err := l.run()
	cancel()
	l.work.Wait()
	closed := l.net.Close()
	r, failure := l.s.result()
	switch {
	case failure != nil:
		err = failure
	case ctx.Err() != nil && !finished:
		err = fmt.Errorf("testnet: the run was ended after %v: %w", r.Took.Round(time.Millisecond), context.Cause(ctx))
	case err == nil && !finished:
		err = &Failure{Seed: seed, Invariant: "the scenario's functions return", Event: r.Events, At: r.Took, Err: errGone}
	case err == nil && closed != nil && ctx.Err() == nil:
		err = fmt.Errorf("testnet: a node has not stopped: %w", closed)
	}
	return r, thrown(seed, err)
}

// run runs the scenario. It has not finished where ctx has ended it.
func (l *live) run() (finished bool, err error) {
	<-l.spawn(func() {
		if err = guard(l.s.form); err == nil {
			l.s.play(&plan{})
			finished = true
		}
	})
	return finished, err
}

// live is a world in real time, on a Net.
//
// Who holds the turn runs; whoever waits gives it to another:
//
//	Go ──> take ──> a function of the scenario ──> give ──> end
//	         ^            |
//	         |            v Sleep, a call of a node that blocks
//	         +── wait <── give
type live struct {
	s     *Sim
	net   *Net
	ctx   context.Context // of the run
	began time.Time
	work  sync.WaitGroup // what the run has started
	turn  chan struct{}  // full: somebody has it

	// For who has the turn.
	turns   uint64
	due     []dueCall // in the order of time
	rng     *rand.Rand
	down    map[int]chan struct{} // nodes that have crashed; closed: nothing runs on it any more
	crashes map[int]int           // by node
}

// A dueCall is a call of At.
type dueCall struct {
	at time.Duration
	do func()
}

// streamDisks is what crashes leave on disks.
const streamDisks = 0x6469736b

func newLive(ctx context.Context, transport string, s *Sim) *live {
	sc := &s.scenario
	l := &live{s: s, ctx: ctx, began: time.Now(), turn: make(chan struct{}, 1), down: make(map[int]chan struct{}), crashes: make(map[int]int),
		rng: rand.New(rand.NewPCG(s.Seed, streamDisks))}
	l.net = newNet(ctx, Options{Transport: transport, Router: sc.Router, Register: sc.Register, Limits: sc.Limits, Log: sc.Log}, l.env)
	s.ctx, s.world = ctx, l
	return l
}

// errVirtual is why a fault, or an invariant, is refused.
var errVirtual = errors.New("testnet: only a simulation can do it")

// refuse names all of a scenario that is for simulations only.
func (l *live) refuse(transport string) error {
	sc := &l.s.scenario
	var all []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"Link.Latency", sc.Link.Latency != nil}, {"Link.Loss", sc.Link.Loss != 0}, {"Link.Duplicate", sc.Link.Duplicate != 0}, {"Link.Reorder", sc.Link.Reorder != 0},
		{"Link.Rate", sc.Link.Rate != 0}, {"Link.Queue", sc.Link.Queue != 0}, {"Links", sc.Links != nil},
		{"Faults.Pause", sc.Faults.Pause != 0}, {"Faults.OneWay", sc.Faults.OneWay != 0}, {"Faults.Slow", sc.Faults.Slow != 0},
		{"Faults.ClockSkew", sc.Faults.ClockSkew != 0}, {"Faults.ClockDrift", sc.Faults.ClockDrift != 0},
	} {
		if f.set {
			all = append(all, f.name)
		}
	}
	for _, step := range sc.Script {
		if step.virtual {
			all = append(all, fmt.Sprintf("the step %q", step))
		}
	}
	for _, i := range slices.Concat(sc.Always, sc.Eventually) {
		if l.watchesEvents(i) {
			all = append(all, fmt.Sprintf("the invariant %q, which watches events", i.Name))
		}
	}
	switch {
	case !slices.Contains([]string{"mem", "tcp", "quic"}, transport):
		return fmt.Errorf("testnet: transport is %q, want mem, tcp or quic", transport)
	case sc.Nodes > maxNodes:
		return fmt.Errorf("testnet: Scenario.Nodes is %d, want 1 to %d in real time", sc.Nodes, maxNodes)
	case len(all) > 0:
		return fmt.Errorf("testnet: only a simulation has: %s", strings.Join(all, "; "))
	}
	return nil
}

// watchesEvents tries an invariant on a network without nodes. One that does not
// stand that gets no events.
func (l *live) watchesEvents(i Invariant) (yes bool) {
	probe := newSim(l.s.Seed, l.s.scenario)
	probe.world, probe.ctx = l, l.ctx
	_ = guard(func() error { // if it panics, it does so again when its time comes
		yes = i.Begin(probe).Event != nil
		return nil
	})
	return yes
}

// take waits for the turn, give passes it on.
func (l *live) take() {
	l.turn <- struct{}{}
	l.turns++
}

func (l *live) give() { <-l.turn }

// away calls f, which waits, and has others run meanwhile.
func (l *live) away(f func()) {
	l.give()
	defer l.take()
	f()
}

// Go runs f when it is its turn.
func (l *live) Go(f func()) { l.spawn(f) }

// spawn is Go, and tells when f is over. It does not begin where the run has
// ended.
func (l *live) spawn(f func()) (over <-chan struct{}) {
	end := make(chan struct{})
	l.work.Go(func() {
		defer close(end)
		inScenario(func() {
			l.take()
			defer l.give()
			if l.ctx.Err() == nil {
				f()
			}
		})
	})
	return end
}

// inScenario calls a function of the scenario. That it is on the stack is how
// waits of such functions are told from those of nodes.
//
//go:noinline
func inScenario(f func()) { f() }

var nameOfInScenario = runtime.FuncForPC(reflect.ValueOf(inScenario).Pointer()).Name()

// ofScenario reports whether a function of the scenario is on the stack.
func ofScenario() bool {
	var pcs [64]uintptr
	for skip := 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		if n == 0 {
			return false
		}
		frames := runtime.CallersFrames(pcs[:n])
		for more := true; more; {
			var f runtime.Frame
			if f, more = frames.Next(); f.Function == nameOfInScenario {
				return true
			}
		}
	}
}

// liveEnv is the environment of a node until it crashes: the real one, but that
// functions of the scenario hand over when they wait.
type liveEnv struct {
	env.Real
	live *live
	node int
	life int
}

func (l *live) env(n *Node) env.Env { return liveEnv{live: l, node: n.Index, life: l.crashes[n.Index]} }

// Wait waits. A function of the scenario ends with the node that it waits for.
// It does not end with the run: the nodes do, and bring what it waits for.
func (e liveEnv) Wait(a, b, c <-chan struct{}) (which int) {
	for i, ready := range [...]<-chan struct{}{a, b, c} {
		select {
		case <-ready:
			return i
		default:
		}
	}
	if !ofScenario() {
		return e.Real.Wait(a, b, c)
	}
	e.live.away(func() { which = e.Real.Wait(a, b, c) })
	if e.live.crashes[e.node] != e.life {
		runtime.Goexit()
	}
	return which
}

// Sleep waits for d. When the run ends, so does the function that sleeps.
func (l *live) Sleep(d time.Duration) error {
	l.away(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-l.ctx.Done():
		}
	})
	if l.ctx.Err() != nil {
		runtime.Goexit()
	}
	return nil
}

// At calls f after d. Of calls at the same time the first is the first.
func (l *live) At(d time.Duration, f func()) {
	at := l.Now() + d
	i := len(l.due)
	for i > 0 && l.due[i-1].at > at {
		i--
	}
	l.due = slices.Insert(l.due, i, dueCall{at, f})
	l.Go(func() { // as many of them wake as are due
		_ = l.Sleep(at - l.Now()) // never fails
		next := l.due[0]
		l.due = l.due[1:]
		next.do()
	})
}

func (l *live) Now() time.Duration { return time.Since(l.began) }

// Events counts turns: who keeps what it has seen of a network, until there was
// another event, sees it anew in each.
func (l *live) Events() uint64 { return l.turns }

func (l *live) Hash() uint64  { return 0 }
func (l *live) Cause() uint64 { return 0 }
func (l *live) Close()        {}

func (l *live) do(f func() error) (err error) {
	returned := false
	over := l.spawn(func() {
		err = f()
		returned = true
	})
	l.away(func() { <-over })
	switch {
	case returned && len(l.down) > 0 && ofStopped(err): // it had no need to wait
		return fmt.Errorf("%w: %w", ErrCrashed, err)
	case returned:
		return err
	case l.ctx.Err() != nil:
		runtime.Goexit()
	}
	return ErrCrashed
}

// ofStopped reports whether a call failed because the node that made it has
// stopped.
func ofStopped(err error) bool {
	var call *rpc.Error
	return errors.Is(err, errStopped) || errors.As(err, &call) && call.Code == rpc.Stopped && call.Node.IsZero()
}

func (l *live) place(n *Node) { l.net.nodes = append(l.net.nodes, n) }

func (l *live) start(n *Node) error {
	if err := l.net.start(n); err != nil {
		return err
	}
	done := n.done
	l.work.Go(func() {
		err := <-done
		done <- err // for who stops it
		if !errors.Is(err, context.Canceled) && !errors.Is(err, errStopped) {
			l.take()
			defer l.give()
			l.s.fail("nodes run", fmt.Errorf("node %d has stopped: %w", n.Index, err))
		}
	})
	return nil
}

func (l *live) stop(n *Node) (err error) {
	l.away(func() { err = l.net.Stop(n.Index) })
	return err
}

func (l *live) crash(n *Node) {
	gone := make(chan struct{})
	l.down[n.Index] = gone
	l.crashes[n.Index]++
	n.Disk.freeze(true)
	n.Disk.crash(l.rng)
	l.net.gate.vanish(n.Key.ID())
	l.away(func() {
		_ = l.net.Stop(n.Index) // it is dead, however it ends
		n.Disk.freeze(false)
		close(gone)
	})
}

func (l *live) revive(n *Node) error {
	gone := l.down[n.Index]
	if gone == nil {
		return nil
	}
	l.away(func() { <-gone })
	if l.down[n.Index] != gone {
		return fmt.Errorf("testnet: node %d runs", n.Index)
	}
	delete(l.down, n.Index)
	l.net.gate.appear(n.Key.ID())
	return nil
}

func (l *live) up(n *Node) bool        { return l.down[n.Index] == nil }
func (l *live) block(from, to *Node)   { l.net.Cut(from.Index, to.Index) }
func (l *live) unblock(from, to *Node) { l.net.Heal(from.Index, to.Index) }
func (l *live) cut(a, b *Node)         { l.net.gate.once(a.Key.ID(), b.Key.ID()) }
