package agenttest

import (
	"fmt"
	"slices"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// maxDeliveries bounds the events that one Advance delivers at one moment.
const maxDeliveries = 10_000

// An Event is on its way to OnEvent of the behaviour or of a handler.
type Event struct {
	To    identity.ConnID // the connection of the handler that it is for; zero: the behaviour
	From  conn.Info       // what OnEvent is given: see behavior.EventReceiver and behavior.HandlerEventReceiver
	Value any
}

// A BehaviorReceiver is a behaviour that receives events.
type BehaviorReceiver interface {
	OnEvent(a *agent.Behavior, from conn.Info, ev any)
}

// A HandlerReceiver is a handler that receives events.
type HandlerReceiver interface {
	OnEvent(a *agent.Handler, from conn.Info, ev any)
}

// clock is the agents' clock.
type clock struct{ r *Recorder }

// Now returns what Advance has set.
func (c clock) Now() time.Time {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	return c.r.now
}

// timer is one After.
type timer struct {
	id    uint64
	at    time.Time
	event Event
}

// addTimer keeps timers sorted by time, then by age. The caller holds mu.
func (r *Recorder) addTimer(t timer) {
	i := len(r.timers)
	for i > 0 && t.at.Before(r.timers[i-1].at) {
		i--
	}
	r.timers = slices.Insert(r.timers, i, t)
}

// cancel forgets a timer and writes that down with its event.
func (r *Recorder) cancel(c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.timers, func(t timer) bool { return t.id == c.Op.ID })
	if i < 0 {
		return // gone: it fired, or its connection ended
	}
	c.Op.Event = r.timers[i].event.Value
	c.text = describeCall(c)
	r.calls = append(r.calls, c)
	r.timers = slices.Delete(r.timers, i, i+1)
}

// NextTimer returns how long it is until the next timer fires; false if there is
// none.
func (r *Recorder) NextTimer() (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.timers) == 0 {
		return 0, false
	}
	return max(0, r.timers[0].at.Sub(r.now)), true
}

// Events returns the events that wait and have no receiver, in order, and
// forgets them.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

// DeliverTo makes Advance deliver the events for the behaviour to b.
func (r *Recorder) DeliverTo(b BehaviorReceiver) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.receiver = b
}

// DeliverToHandler makes Advance deliver the events for the handler on an open
// connection to h.
func (r *Recorder) DeliverToHandler(id identity.ConnID, h HandlerReceiver) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open(id)
	r.receivers[id] = h
}

// Advance moves the clock. Events that wait, and those of timers that fire on the
// way, each at its time, are delivered to their receivers, one after another; what
// has no receiver waits for [Recorder.Events]. Advance(0) delivers what waits.
func (r *Recorder) Advance(d time.Duration) {
	r.mu.Lock()
	end := r.now.Add(d)
	r.wake()
	r.mu.Unlock()
	for still := 0; still < maxDeliveries; still++ {
		if call := r.nextDelivery(); call != nil {
			r.Turn(call)
			continue
		}
		fired, moved := r.fire(end)
		if !fired {
			return
		}
		if moved {
			still = 0
		}
	}
	panic(fmt.Sprintf("agenttest: %d events at one moment: events that cause each other, or timers of 0, never end", maxDeliveries))
}

// fire moves the clock to the next timer until end, and queues its event.
func (r *Recorder) fire(end time.Time) (fired, moved bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.timers) == 0 || r.timers[0].at.After(end) {
		r.now = end
		return false, false
	}
	t := r.timers[0]
	r.timers = slices.Delete(r.timers, 0, 1)
	if moved = t.at.After(r.now); moved {
		r.now = t.at
	}
	r.events = append(r.events, t.event)
	return true, moved
}

// nextDelivery takes the first event that has a receiver, nil if there is none.
func (r *Recorder) nextDelivery() func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, e := range r.events {
		call := r.delivery(e)
		if call != nil {
			r.events = slices.Delete(r.events, i, i+1)
			return call
		}
	}
	return nil
}

// delivery makes the call of OnEvent, nil without a receiver. The caller holds mu.
func (r *Recorder) delivery(e Event) func() {
	if e.To == 0 {
		if b := r.receiver; b != nil {
			return func() { b.OnEvent(r.behavior, e.From, e.Value) }
		}
		return nil
	}
	if h := r.receivers[e.To]; h != nil {
		a := r.open(e.To).handler
		return func() { h.OnEvent(a, e.From, e.Value) }
	}
	return nil
}
