package sim

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/plexus-net/plexus/identity"
)

// A World is a simulation. It belongs to the goroutine that made it, main,
// which lets time pass by waiting: in Sleep, Until, or in any call of a node.
// Make it with New, and end it with Close.
type World struct {
	Rand *rand.Rand // of the world itself: paths, faults

	now     int64
	limit   int64
	events  queue
	tasks   ring
	hosts   []*Host
	byID    map[identity.NodeID]*Host
	places  map[string]*listener // by name
	pathOf  func(from, to *Host) *Path
	blocked map[[2]int]bool // from, to

	main    *coroutine
	current *coroutine   // who runs
	idle    []*coroutine // who can go on with the loop
	asleep  []*coroutine // in Sleep, but for main
	dirty   []*Host      // whose waiters have to be looked at
	closed  bool
	over    error // why time does not go on

	trace trace
	spare []*piece
	known map[[32]byte]bool // outcomes of checks, see env.Memory
}

// epoch is when worlds begin.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// errOver is why nothing more happens: the world has reached its limit.
var errOver = errors.New("sim: the limit of virtual time is reached")

// errQuiet is why nothing more happens: nobody has anything to do.
var errQuiet = errors.New("sim: main waits, and nothing is left that could happen")

// New makes an empty world that ends, at the latest, at limit. paths tells the
// way from one host to another, and is asked for once for each connection and
// direction.
func New(seed uint64, limit time.Duration, paths func(from, to *Host) *Path) *World {
	w := &World{Rand: rand.New(rand.NewPCG(seed, 0x776f726c64)), limit: int64(limit), pathOf: paths,
		byID: make(map[identity.NodeID]*Host), places: make(map[string]*listener), blocked: make(map[[2]int]bool), known: make(map[[32]byte]bool), main: &coroutine{wake: make(chan struct{})}}
	w.current = w.main
	w.trace.hash = mix(0, seed)
	return w
}

// Now returns how much time has passed since the world began.
func (w *World) Now() time.Duration { return time.Duration(w.now) }

// A coroutine is a goroutine that runs only while it is current.
type coroutine struct {
	wake   chan struct{}
	host   *Host // for whom it works at present; nil: for the world
	life   int   // of host
	killer *coroutine
}

// A task is something to do now.
type task struct {
	host  *Host // nil: the world
	life  int   // of the host
	cause uint64
	do    func()
	who   *coroutine // goes on, in place of do
}

// At calls f on the loop after d. It must not wait.
func (w *World) At(d time.Duration, f func()) { w.events.push(w.now+int64(max(d, 0)), call(f)) }

type call func()

func (f call) act(w *World) {
	w.trace.cause = 0
	f()
	w.pollAll()
}

// Go runs f beside main. It may wait.
func (w *World) Go(f func()) { w.tasks.push(task{do: f}) }

// suspend notes that the current coroutine sleeps until wake is called.
func (w *World) suspend() (wake func()) {
	who := w.current
	if who != w.main {
		w.asleep = append(w.asleep, who)
	}
	return func() {
		if i := slices.Index(w.asleep, who); i >= 0 {
			w.asleep = slices.Delete(w.asleep, i, i+1)
		}
		w.tasks.push(task{host: who.host, life: who.life, who: who})
	}
}

// Sleep lets d pass.
func (w *World) Sleep(d time.Duration) error {
	due, wake := false, w.suspend()
	w.At(d, func() {
		due = true
		wake()
	})
	w.pollAll()
	w.park()
	if !due {
		return w.over
	}
	return nil
}

// Do runs f beside the caller and waits for its end. It reports whether f has
// returned: it has not if a host that it waited for has crashed.
func (w *World) Do(f func()) (returned bool) {
	wake := w.suspend()
	w.Go(func() {
		defer wake()
		f()
		returned = true
	})
	w.pollAll()
	w.park()
	return returned
}

// park lets others run until the current coroutine goes on: when a task says
// so, or when the world is over, in main.
func (w *World) park() {
	me := w.current
	w.pollFor(me.host)
	if w.over == nil || me != w.main {
		w.handOver()
		<-me.wake
	}
	w.current = me
	if me.killer != nil {
		runtime.Goexit()
	}
}

// handOver has another goroutine go on with the loop.
func (w *World) handOver() {
	if n := len(w.idle); n > 0 {
		next := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.current = next
		next.wake <- struct{}{}
		return
	}
	next := &coroutine{wake: make(chan struct{})}
	w.current = next
	go w.run(next)
}

// run is a coroutine: it runs the loop whenever it is current, until it is
// killed.
func (w *World) run(me *coroutine) {
	defer func() {
		if me.killer != nil {
			me.killer.wake <- struct{}{}
		} else { // a callback has ended its goroutine, as t.FailNow does
			w.handOver()
		}
	}()
	for {
		next := w.loop(me)
		me.host, me.life = nil, 0
		w.idle = append(w.idle, me)
		w.current = next
		next.wake <- struct{}{}
		<-me.wake
		w.current = me
		if me.killer != nil {
			return
		}
	}
}

// loop runs tasks and events until it is somebody else's turn, and returns
// whose.
func (w *World) loop(me *coroutine) *coroutine {
	for {
		for w.tasks.n > 0 {
			t := w.tasks.pop()
			if t.host != nil && !t.host.takes(&t) {
				continue
			}
			w.trace.cause = t.cause
			if t.who != nil {
				return t.who
			}
			me.host, me.life = t.host, t.life
			t.do()
			if me.host == nil {
				w.pollAll()
			} else {
				w.pollFor(me.host)
			}
		}
		if len(w.dirty) > 0 {
			w.poll()
			continue
		}
		if len(w.events.heap) == 0 {
			w.over = errQuiet
			return w.main
		}
		if w.events.heap[0].at > w.limit {
			w.over = errOver
			return w.main
		}
		e := w.events.pop()
		w.now = e.at
		me.host = nil
		e.do.act(w)
	}
}

// kill ends a coroutine that waits: its deferred functions run, and no more.
// Main is not killed, nor who kills, nor anybody twice.
func (w *World) kill(c *coroutine) {
	me := w.current
	if c == nil || c == w.main || c == me || c.killer != nil {
		return
	}
	c.killer = me
	w.current = c
	c.wake <- struct{}{}
	<-me.wake
	w.current = me
}

// Close ends the world and every goroutine in it, without a word to anybody.
// It is called by main.
func (w *World) Close() {
	if w.closed {
		return
	}
	w.closed = true
	for _, h := range w.hosts {
		h.vanish()
	}
	for len(w.asleep) > 0 {
		c := w.asleep[0]
		w.asleep = w.asleep[1:]
		w.kill(c)
	}
	for w.tasks.n > 0 {
		t := w.tasks.pop()
		w.kill(t.who)
	}
	for len(w.idle) > 0 {
		last := len(w.idle) - 1
		c := w.idle[last]
		w.idle = w.idle[:last]
		w.kill(c)
	}
	w.events = queue{}
}

// A ring is a queue of tasks.
type ring struct {
	buf  []task
	head int
	n    int
}

func (r *ring) push(t task) {
	if r.n == len(r.buf) {
		bigger := make([]task, max(64, 2*len(r.buf)))
		for i := range r.n {
			bigger[i] = r.buf[(r.head+i)%len(r.buf)]
		}
		r.buf, r.head = bigger, 0
	}
	r.buf[(r.head+r.n)%len(r.buf)] = t
	r.n++
}

func (r *ring) pop() task {
	t := r.buf[r.head]
	r.buf[r.head] = task{}
	r.head = (r.head + 1) % len(r.buf)
	r.n--
	return t
}
