package behaviortest

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// Bounds of what a behaviour may do.
const (
	maxAsked  = 2000      // operations in one callback
	maxEvents = 2000      // events at one moment
	maxSteps  = 500       // events of one advance of the clock
	forever   = time.Hour // of the bubble's time: what blocks for so long blocks for ever
)

// A driver plays the runtime for one behaviour, on one goroutine of a bubble.
type driver struct {
	found  *findings
	play   string
	rec    *agenttest.Recorder
	refuse func() error // what operations are answered; nil, or nil: as a node would
	b      behavior.Behavior
	info   behavior.Info
	hooks  hooks
	parts  []behavior.Part
	watch  []behavior.PartObserver
	corpus corpus
	trace  []string
	fast   bool         // callbacks run inline, nothing is traced
	loose  bool         // goroutines of the behaviour are not waited for
	broken bool         // a callback panicked or blocks: nothing more is called
	asked  atomic.Int64 // operations of the current callback
	looped atomic.Bool  // it asked for too many

	mu      sync.Mutex // guards what follows, which agents read on any goroutine
	current string     // the callback that runs, or ran last
	links   []*link    // open, the oldest first; written by the driver's goroutine only
}

// hooks are the optional callbacks of a behaviour.
type hooks struct {
	start      behavior.Starter
	stop       behavior.Stopper
	tick       behavior.Ticker
	admit      behavior.Admitter
	connect    behavior.Connector
	disconnect behavior.Disconnector
	dialError  behavior.DialWatcher
	event      behavior.EventReceiver
	report     behavior.Reporter
}

// A link is an open connection and its handler.
type link struct {
	info    conn.Info
	handler behavior.Handler // nil: messages go to the behaviour
	agent   *agent.Handler
}

// newDriver makes a behaviour and what drives it; nil if it cannot be driven.
func newDriver(found *findings, play string, s subject) *driver {
	d := &driver{found: found, play: play, rec: agenttest.New(agenttest.Config{Seed: 1, Service: 70})}
	d.b = s.fresh()
	if err := behavior.Check(d.b); err != nil {
		found.add(ruleCheck, "%v", err)
		return nil
	}
	if x, ok := behavior.As[behavior.Describer](d.b); ok {
		d.info = x.Describe()
	}
	if x, ok := behavior.As[behavior.Parted](d.b); ok {
		d.parts = x.Parts()
	}
	for _, p := range d.parts {
		if w, ok := p.(behavior.PartObserver); ok {
			d.watch = append(d.watch, w)
		}
	}
	d.hooks.start, _ = behavior.As[behavior.Starter](d.b)
	d.hooks.stop, _ = behavior.As[behavior.Stopper](d.b)
	d.hooks.tick, _ = behavior.As[behavior.Ticker](d.b)
	d.hooks.admit, _ = behavior.As[behavior.Admitter](d.b)
	d.hooks.connect, _ = behavior.As[behavior.Connector](d.b)
	d.hooks.disconnect, _ = behavior.As[behavior.Disconnector](d.b)
	d.hooks.dialError, _ = behavior.As[behavior.DialWatcher](d.b)
	d.hooks.event, _ = behavior.As[behavior.EventReceiver](d.b)
	d.hooks.report, _ = behavior.As[behavior.Reporter](d.b)
	for _, m := range s.examples {
		d.corpus.add(m.Kind, m.Payload)
	}
	d.rec.FailFunc(d.answer)
	return d
}

// answer is asked about every operation, on the goroutine that asks for it.
func (d *driver) answer(c agenttest.Call) error {
	if d.asked.Add(1) > maxAsked {
		d.found.add(ruleLoop, "%s asked for more than %d operations; the last: %s", d.running(), maxAsked, c)
		d.looped.Store(true)
		runtime.Goexit() // the only way out of an endless loop
	}
	switch op := c.Op.Code; op {
	case agent.OpPost, agent.OpDo:
		if onCallback() {
			d.found.add(ruleBlock, "%s called %s of its agent, which waits for the turn that the callback has", d.running(), map[agent.OpCode]string{agent.OpPost: "Post", agent.OpDo: "Do"}[op])
		}
	case agent.OpNotify:
		if l := d.link(c.Op.Conn); l != nil {
			if _, ok := l.handler.(behavior.HandlerEventReceiver); !ok {
				return agent.ErrNoHandler
			}
		}
	}
	if d.refuse != nil {
		return d.refuse()
	}
	return nil
}

// link returns the open connection with an ID.
func (d *driver) link(id identity.ConnID) *link {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.links {
		if l.info.ID == id {
			return l
		}
	}
	return nil
}

// running returns the callback that runs, or ran last.
func (d *driver) running() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current
}

// enter says which callback runs.
func (d *driver) enter(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current = name
	d.asked.Store(0)
	d.found.calls.Add(1)
}

// wait lets goroutines of the behaviour go on, in the same place in every run.
func (d *driver) wait() {
	if !d.loose {
		synctest.Wait()
	}
}

// inCallback is the function that callbacks run in, as stacks name it.
const inCallback = "behaviortest.(*driver).inCallback"

// onCallback reports whether the caller runs in a callback, and not in a goroutine
// that one has started.
func onCallback() bool {
	var pcs [100]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, inCallback) {
			return true
		}
		if !more {
			return false
		}
	}
}

// inCallback runs a callback and returns what it panicked with.
func (d *driver) inCallback(f func()) (panicValue any, stack []byte) {
	defer func() {
		if panicValue = recover(); panicValue != nil {
			stack = debug.Stack()
		}
	}()
	f()
	return nil, nil
}

// call runs a callback, on a turn if it is one of the behaviour's, and finds out
// whether it panics or blocks.
func (d *driver) call(name string, turn bool, f func()) {
	if d.broken {
		return
	}
	d.enter(name)
	if turn {
		callback := f
		f = func() { d.rec.Turn(callback) }
	}
	if d.fast {
		d.await(f, nil)
		d.rec.TakeCalls()
		return
	}
	began := time.Now()
	limit := time.NewTimer(forever)
	defer limit.Stop()
	if !d.await(f, limit.C) {
		d.found.add(ruleBlock, "%s blocks for ever (%s)%s", name, d.play, stuck())
		d.broken = true
	} else if took := time.Since(began); took > 0 && !d.broken {
		d.found.add(ruleBlock, "%s blocked for %v (%s)", name, took, d.play)
	}
	d.note(name)
}

// await runs a callback, on a goroutine of its own, in which it may block or be
// ended. false: it did not return before limit.
func (d *driver) await(f func(), limit <-chan time.Time) bool {
	var p any
	var stack []byte
	done := make(chan struct{})
	go func() {
		defer close(done)
		p, stack = d.inCallback(f)
	}()
	select {
	case <-done:
	case <-limit:
		return false
	}
	if p != nil {
		d.panicked(p, stack)
	}
	if d.looped.Load() {
		d.broken = true
	}
	d.wait()
	return true
}

// panicked records that the current callback has panicked.
func (d *driver) panicked(p any, stack []byte) {
	d.found.add(rulePanic, "%s panicked (%s): %s", d.running(), d.play, panicked(p, stack))
	d.broken = true
}

// note adds what was asked for to the trace and to the corpus.
func (d *driver) note(name string) {
	calls := d.rec.TakeCalls()
	d.trace = append(d.trace, name)
	for _, c := range calls {
		d.trace = append(d.trace, "\t"+c.String())
		if c.IsSend() {
			d.corpus.add(c.Message.Kind, c.Message.Payload)
			d.checkSend(c)
			continue
		}
		hears := d.hooks.event != nil
		if l := d.link(c.By); c.By != 0 && c.Op.Code == agent.OpAfter && l != nil {
			_, hears = l.handler.(behavior.HandlerEventReceiver)
		}
		if op := c.Op.Code; !hears && (op == agent.OpTell || op == agent.OpPost || op == agent.OpAfter) {
			d.found.add(ruleEvents, "%s asked for an event that nobody receives: %s", name, c)
		}
	}
}

// settle delivers events until none waits.
func (d *driver) settle() {
	for n := 0; !d.broken; {
		events := d.rec.Events()
		if len(events) == 0 {
			return
		}
		for _, e := range events {
			if n++; n > maxEvents {
				d.found.add(ruleLoop, "more than %d events at one moment: events cause each other, or After has a delay of 0 (%s); the last: %s", maxEvents, d.play, eventName(e))
				d.broken = true
				return
			}
			d.event(e)
		}
	}
}

// event delivers an event.
func (d *driver) event(e agenttest.Event) {
	name := eventName(e)
	d.checkEvent(name, e.Value)
	if e.To == 0 {
		if d.hooks.event != nil {
			d.call(name, true, func() { d.hooks.event.OnEvent(d.rec.Behavior(), e.From, e.Value) })
		}
		return
	}
	if l := d.link(e.To); l != nil {
		if h, ok := l.handler.(behavior.HandlerEventReceiver); ok {
			d.call("handler's "+name, false, func() { h.OnEvent(l.agent, e.From, e.Value) })
		}
	}
}

func eventName(e agenttest.Event) string { return fmt.Sprintf("OnEvent(%T)", e.Value) }

// advance moves the agents' clock and lets timers fire, up to maxSteps of them.
func (d *driver) advance(by time.Duration) {
	still := 0
	d.settle()
	for range maxSteps {
		next, ok := d.rec.NextTimer()
		if !ok || next > by || d.broken {
			break
		}
		d.rec.Advance(next)
		d.wait()
		by -= next
		if still++; next > 0 {
			still = 0
		}
		d.settle()
	}
	if still >= maxSteps {
		d.found.add(ruleLoop, "timers with a delay of 0 set each other without end (%s)", d.play)
		d.broken = true
		return
	}
	if next, ok := d.rec.NextTimer(); ok && next <= by {
		return // enough of it; the clock stands where it is
	}
	d.rec.Advance(by)
	d.wait()
}
