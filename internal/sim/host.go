package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// A Host is a machine of the world, for one node at a time. It is the
// environment of that node, [env.Env].
type Host struct {
	Index int
	Name  string // of its address: sim://Name. It has a port, as addresses do

	world  *World
	seed   uint64
	source *rand.PCG
	life   int // counts crashes; odd: it is down
	paused bool
	held   []action // what would have happened during a pause
	cost   int64    // what everything that happens here takes, in nanoseconds
	busy   int64    // until when
	skew   int64
	drift  float64
	began  int64 // when skew and drift were set

	waiters []*waiter
	dirty   bool // is in World.dirty
	lines   []*end
	id      identity.NodeID // of the node that has dialled or listened
}

var _ env.Env = (*Host)(nil)

// NewHost adds a host to the world.
func (w *World) NewHost() *Host {
	h := &Host{Index: len(w.hosts), Name: fmt.Sprintf("node%d:1", len(w.hosts)), world: w, seed: w.Rand.Uint64()}
	h.source = rand.NewPCG(h.seed, 0)
	w.hosts = append(w.hosts, h)
	return h
}

// Now tells the time on the clock of the host.
func (h *Host) Now() time.Time {
	h.touch()
	now := h.world.now
	return epoch.Add(time.Duration(now + h.skew + int64(float64(now-h.began)*h.drift)))
}

// SetClock sets how far the clock of the host is ahead, and how much of a
// second it gains in each.
func (h *Host) SetClock(ahead time.Duration, drift float64) {
	h.world.fault("clock", h, nil)
	h.skew, h.drift, h.began = int64(ahead), drift, h.world.now
}

// Source returns the host's random numbers.
func (h *Host) Source() rand.Source {
	h.touch()
	return h.source
}

// touch notes that main, or what it has started, calls a node of the host.
func (h *Host) touch() {
	if h.world.current.host == nil {
		h.world.pollFor(h)
	}
}

// Go runs f as soon as what runs now waits or returns.
func (h *Host) Go(f func()) {
	h.touch()
	if h.up() {
		h.world.tasks.push(task{host: h, life: h.life, cause: h.world.trace.cause, do: f})
	}
}

func (h *Host) up() bool { return h.life%2 == 0 }

// takes reports whether a task is to be done now. If not it is dropped or, in a
// pause, kept.
func (h *Host) takes(t *task) bool {
	if t.life != h.life {
		h.world.kill(t.who) // it was to go on, and has crashed with the host
		return false
	}
	if h.paused {
		kept := *t
		h.held = append(h.held, &kept)
		return false
	}
	return true
}

func (t *task) act(w *World) { w.tasks.push(*t) }

// delays reports whether something that happens to the host has to wait: in a
// pause, or while a slow host has other things to do. It takes care of it then.
func (h *Host) delays(do action) bool {
	w := h.world
	switch {
	case h.paused:
		h.held = append(h.held, do)
		return true
	case h.busy > w.now:
		w.events.push(h.busy, do)
		return true
	}
	if h.cost > 0 {
		h.busy = w.now + h.cost
	}
	return false
}

// Recall returns what check returned for the same sum, on whatever host. The
// map is emptied when it is large.
func (h *Host) Recall(sum [32]byte, check func() bool) bool {
	known := h.world.known
	yes, ok := known[sum]
	if !ok {
		if len(known) >= maxKnown {
			clear(known)
		}
		yes = check()
		known[sum] = yes
	}
	return yes
}

const maxKnown = 1 << 20

// A timer is a call of AfterFunc.
type timer struct {
	host  *Host
	life  int
	cause uint64
	f     func()
	over  bool
}

// AfterFunc calls f after d of the host's clock.
func (h *Host) AfterFunc(d time.Duration, f func()) env.Timer {
	t := &timer{host: h, life: h.life, cause: h.world.trace.cause, f: f, over: !h.up()}
	if t.over {
		return t
	}
	if h.drift != 0 {
		d = time.Duration(float64(d) / (1 + h.drift))
	}
	w := h.world
	w.events.push(w.now+int64(max(d, 0)), t)
	return t
}

// Stop forgets the timer.
func (t *timer) Stop() bool {
	if t.over {
		return false
	}
	t.over, t.f = true, nil
	t.host.world.events.bury()
	return true
}

func (t *timer) act(w *World) {
	h := t.host
	switch {
	case t.over:
		w.events.dead--
	case t.life != h.life:
	case h.delays(t):
	default:
		t.over = true
		w.trace.cause = t.cause
		w.trace.add(Event{At: w.Now(), Op: OpTimer, Node: h.Index, Peer: -1})
		w.tasks.push(task{host: h, life: h.life, cause: w.trace.cause, do: t.f})
	}
}

// A waiter is a call of Wait, or of OnDone.
type waiter struct {
	on   [3]<-chan struct{}
	who  *coroutine // in Wait
	f    func()     // in OnDone
	got  int
	life int
}

// ready returns which of some channels can be received from, -1 if none.
func ready(on *[3]<-chan struct{}) int {
	for i, c := range on {
		if c == nil {
			continue
		}
		select {
		case <-c:
			return i
		default:
		}
	}
	return -1
}

// Wait waits for one of the channels. The first of them goes first.
func (h *Host) Wait(a, b, c <-chan struct{}) int {
	h.touch()
	on := [3]<-chan struct{}{a, b, c}
	if i := ready(&on); i >= 0 {
		return i
	}
	w := h.world
	me := w.current
	if !h.up() {
		if me == w.main {
			panic(fmt.Sprintf("sim: main waits for %s, which has crashed; have a function beside main do that", h.Name))
		}
		runtime.Goexit()
	}
	x := &waiter{on: on, who: me, got: -1, life: h.life}
	h.waiters = append(h.waiters, x)
	w.park()
	if x.got < 0 {
		panic(fmt.Sprintf("sim: main waits in vain for %s: %v", h.Name, w.over))
	}
	return x.got
}

// OnDone calls f after ctx has ended.
func (h *Host) OnDone(ctx context.Context, f func()) (stop func() bool) {
	done := ctx.Done()
	if done == nil || !h.up() {
		return func() bool { return true }
	}
	x := &waiter{on: [3]<-chan struct{}{done}, f: f, got: -1, life: h.life}
	h.waiters = append(h.waiters, x)
	return func() bool {
		if x.got >= 0 {
			return false
		}
		for i, o := range h.waiters {
			if o == x {
				h.waiters = append(h.waiters[:i], h.waiters[i+1:]...)
				return true
			}
		}
		return false
	}
}

// poll wakes those whose wait is over.
func (h *Host) poll() {
	kept := h.waiters[:0]
	for _, x := range h.waiters {
		if x.got = ready(&x.on); x.got < 0 {
			kept = append(kept, x)
			continue
		}
		w := h.world
		if x.f != nil {
			w.tasks.push(task{host: h, life: x.life, cause: w.trace.cause, do: x.f})
		} else {
			w.tasks.push(task{host: x.who.host, life: x.who.life, cause: w.trace.cause, who: x.who})
		}
	}
	clear(h.waiters[len(kept):])
	h.waiters = kept
}

// pollFor has those looked at who wait on a host, when no task is left: what is
// done for the host may bring what they wait for. Main, and what it has started,
// may bring it to those on the hosts that it calls; to others when it sleeps, or
// returns.
func (w *World) pollFor(h *Host) {
	if h != nil && !h.dirty {
		h.dirty = true
		w.dirty = append(w.dirty, h)
	}
}

// poll looks at those who wait on hosts that something was done for.
func (w *World) poll() {
	for _, h := range w.dirty {
		h.dirty = false
		if len(h.waiters) > 0 {
			h.poll()
		}
	}
	w.dirty = w.dirty[:0]
}

func (w *World) pollAll() {
	for _, h := range w.hosts {
		if len(h.waiters) > 0 {
			h.poll()
		}
	}
}

// Pause stops everything on a host, but for its network cards.
func (h *Host) Pause() {
	h.world.fault("pause", h, nil)
	h.paused = true
}

// Resume undoes Pause.
func (h *Host) Resume() {
	h.world.fault("resume", h, nil)
	h.paused = false
	held := h.held
	h.held = nil
	for _, do := range held {
		h.world.events.push(h.world.now, do)
	}
}

// SetCost makes a host slow: everything that arrives takes it cost.
func (h *Host) SetCost(cost time.Duration) {
	h.world.fault("slow", h, nil)
	h.cost = int64(cost)
}

// Crash ends the host as a loss of power does: nothing more happens on it, and
// nobody is told.
func (h *Host) Crash() {
	h.world.fault("crash", h, nil)
	h.vanish()
}

// Restart lets a crashed host begin anew. What still comes for connections of
// before is answered with a reset.
func (h *Host) Restart() {
	h.world.fault("restart", h, nil)
	if !h.up() {
		h.life++
		h.source.Seed(h.seed, uint64(h.life))
	}
}

// Up reports whether the host has not crashed.
func (h *Host) Up() bool { return h.up() }

func (h *Host) vanish() {
	if !h.up() {
		return
	}
	w := h.world
	h.life++
	held := h.held
	h.paused, h.held = false, nil
	for _, e := range h.lines {
		e.lost()
	}
	h.lines = nil
	for name, l := range w.places {
		if l.host == h {
			delete(w.places, name)
		}
	}
	waiters := h.waiters
	h.waiters = nil
	for _, x := range waiters {
		w.kill(x.who)
	}
	for _, do := range held {
		if t, ok := do.(*task); ok {
			w.kill(t.who)
		}
	}
}

// Transport returns a transport for a node on this host.
func (h *Host) Transport() conn.Transport { return &transport{host: h, life: h.life} }
