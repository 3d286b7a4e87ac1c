package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/wire"
)

// A service is a registered behaviour: its mailbox, and the worker that is
// started when something is put into it. An idle service has no goroutine.
type service struct {
	n     *Node
	id    identity.ServiceID
	info  behavior.Info
	b     behavior.Behavior
	hooks hooks
	parts []behavior.Part
	watch []behavior.PartObserver
	agent *agent.Behavior
	log   *slog.Logger
	ctx   context.Context
	stop  context.CancelCauseFunc
	fresh func() behavior.Behavior // makes another after a panic; nil: stays stopped
	falls int                      // panics so far, across restarts
	asked bool                     // begin was called; guarded by n.setup

	box    mailbox
	works  func() // work, bound once
	timers timers
	ticker env.Timer // guarded by n.mu
	still  bool      // no more ticks; guarded by n.mu

	recent  atomic.Pointer[slot] // where the last message to a connection went: the next is often for the same
	ticked  atomic.Bool          // a tick is queued
	ticking roster               // slots whose handlers want ticks
	gone    atomic.Bool          // the behaviour has panicked or ended: nothing is called any more

	// Owned by the worker.
	msg     conn.Message
	links   map[*link]conn.Info // OnConnect has returned and OnDisconnect has not been called
	checked reflect.Type        // the last type of handler that was checked
	begun   bool                // OnStart has returned, and no error

	caller    chan struct{}          // of do, who waits for the callback that runs; owned by the worker
	callbacks atomic.Uint64          // callbacks so far
	running   atomic.Pointer[string] // the callback that runs; nil: none
	watched   uint64                 // callbacks when the caretaker last looked; owned by it
	since     time.Time              // when it first saw that callback; owned by it
	warned    bool                   // it has been logged; owned by the caretaker
}

// hooks are the optional callbacks of a behaviour, found once.
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

// Defaults of behavior.Info.
const (
	defaultQueue  = 4096
	defaultWindow = 1 << 20
)

// newService checks a behaviour and prepares it for a node.
func (n *Node) newService(id identity.ServiceID, b behavior.Behavior) (*service, error) {
	if id == 0 {
		return nil, errors.New("network: service ID 0 is not allowed; use 1 to 65535")
	}
	if err := behavior.Check(b); err != nil {
		return nil, fmt.Errorf("network: service %d: %w", id, err)
	}
	s := &service{n: n, id: id, b: b, links: make(map[*link]conn.Info)}
	s.works = s.work
	if d, ok := behavior.As[behavior.Describer](b); ok {
		s.info = d.Describe()
	}
	if err := s.complete(); err != nil {
		return nil, err
	}
	h := &s.hooks
	h.start, _ = behavior.As[behavior.Starter](b)
	h.stop, _ = behavior.As[behavior.Stopper](b)
	h.tick, _ = behavior.As[behavior.Ticker](b)
	h.admit, _ = behavior.As[behavior.Admitter](b)
	h.connect, _ = behavior.As[behavior.Connector](b)
	h.disconnect, _ = behavior.As[behavior.Disconnector](b)
	h.dialError, _ = behavior.As[behavior.DialWatcher](b)
	h.event, _ = behavior.As[behavior.EventReceiver](b)
	h.report, _ = behavior.As[behavior.Reporter](b)
	if p, ok := behavior.As[behavior.Parted](b); ok {
		s.parts = p.Parts()
	}
	for _, p := range s.parts {
		if w, ok := p.(behavior.PartObserver); ok {
			s.watch = append(s.watch, w)
		}
	}
	s.ctx, s.stop = context.WithCancelCause(env.With(context.Background(), n.env))
	s.log = n.cfg.Log.With("service", id, "name", s.info.Name)
	s.agent = agent.NewBehavior(n.agentEnv(s, s.ctx, s.log, &behaviorBackend{s}))
	return s, nil
}

// complete fills in the defaults of the behaviour's description.
func (s *service) complete() error {
	i := &s.info
	if i.Name == "" {
		t := reflect.TypeOf(s.b)
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		i.Name = t.String()
		if len(i.Name) > wire.MaxName {
			i.Name = i.Name[:wire.MaxName]
		}
	}
	if err := checkName(fmt.Sprintf("the name of service %d", s.id), i.Name); err != nil {
		return err
	}
	if i.MaxQueue == 0 {
		i.MaxQueue = defaultQueue
	}
	least := s.n.cfg.Limits.Message + overhead
	if i.Window == 0 {
		i.Window = max(defaultWindow, least)
	}
	if i.MaxQueue < 0 || i.Tick < 0 || i.Window < least || i.Window > wire.MaxWindow {
		return fmt.Errorf("network: service %d: Info has MaxQueue %d, Tick %v, Window %d; want none negative and a window from %d (Limits.Message + %d) to %d",
			s.id, i.MaxQueue, i.Tick, i.Window, least, overhead, wire.MaxWindow)
	}
	return nil
}

// takes reports whether a part has taken the message. Any goroutine.
func (s *service) takes(m *conn.Message) bool {
	return len(s.parts) > 0 && s.taken(m)
}

func (s *service) taken(m *conn.Message) (yes bool) {
	s.guard(func() {
		if s.n.trace != nil && m.Kind >= conn.KindReserved {
			s.n.noteMessage(s.id, m)
		}
		for _, p := range s.parts {
			if yes = p.Take(s.agent, m); yes {
				return
			}
		}
	})
	return yes
}

// guard calls a part, on any goroutine, unless the behaviour is gone.
func (s *service) guard(call func()) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(nameTake, v, debug.Stack())
		}
	}()
	if !s.gone.Load() {
		call()
	}
}

// deliver queues a chunk of messages. false: the behaviour has ended.
func (s *service) deliver(c *chunk) bool {
	schedule, ok := s.box.putChunk(c)
	s.schedule(schedule)
	return ok
}

// put queues what has to arrive.
func (s *service) put(it item) bool {
	schedule, ok := s.box.put(it)
	s.schedule(schedule)
	return ok
}

// putEvent queues an event, or says why not.
func (s *service) putEvent(it item) error {
	schedule, full, closed := s.box.putBounded(it, s.info.MaxQueue)
	s.schedule(schedule)
	switch {
	case closed:
		return agent.ErrStopped
	case full:
		s.n.count.eventsRefused.Add(1)
		return agent.ErrQueueFull
	}
	return nil
}

// accept queues a message that came through no window: a local one, or a
// routed one that ends here. A full queue refuses it.
func (s *service) accept(m *conn.Message, l *link, far bool) error {
	schedule, full, closed := s.box.putMessage(m, l, far, s.info.MaxQueue, s.info.Window)
	s.schedule(schedule)
	switch {
	case closed:
		return agent.ErrNoService
	case full:
		s.n.count.messagesRefused.Add(1)
		return agent.ErrQueueFull
	}
	return nil
}

func (s *service) schedule(yes bool) {
	if yes {
		s.n.env.Go(s.works)
	}
}

// work is the behaviour's turn: it empties the mailbox.
func (s *service) work() {
	for {
		c := s.box.take()
		if c == nil {
			return
		}
		bounded, bytes := 0, 0
		for i := range c.items {
			if it := &c.items[i]; it.bounded {
				bounded++
				bytes += int(it.len)
				if it.far {
					bytes -= identity.NodeIDSize
				}
			}
		}
		for at := 0; at < len(c.items); {
			at = s.run(c, at)
		}
		if c.slot != nil && c.cost > 0 {
			c.slot.consume(c.cost)
		}
		if bounded > 0 {
			s.box.settle(bounded, bytes)
		}
		c.free()
	}
}

// run deals with the items of a chunk from at on and returns where to go on. It
// returns early after a panic.
func (s *service) run(c *chunk, at int) (next int) {
	defer func() {
		name := s.running.Swap(nil)
		if v := recover(); v != nil {
			if name == nil {
				name = &nameDo
			}
			s.panicked(*name, v, debug.Stack())
			s.answer()
			next = at + 1
		}
	}()
	for ; at < len(c.items); at++ {
		it := &c.items[at]
		s.callbacks.Store(s.callbacks.Load() + 1) // only this goroutine writes it
		if it.op == opMessage {
			if s.gone.Load() {
				continue
			}
			s.running.Store(&nameMessage)
			c.message(it, &s.msg, s.n.self)
			s.msg.Service = s.id
			if it.link == nil && s.takes(&s.msg) {
				continue
			}
			if s.n.trace != nil {
				s.n.noteMessage(s.id, &s.msg)
			}
			s.b.OnMessage(s.agent, &s.msg)
			continue
		}
		s.handle(it)
	}
	return at
}

// Names of callbacks, as the watchdog reports them.
var (
	nameMessage    = "OnMessage"
	nameConnect    = "OnConnect"
	nameDisconnect = "OnDisconnect"
	nameEvent      = "OnEvent"
	nameTick       = "OnTick"
	nameDialError  = "OnDialError"
	nameReport     = "OnReport"
	nameAdmit      = "Admit"
	nameStart      = "OnStart"
	nameStop       = "OnStop"
	nameDo         = "Do"
	nameOpen       = "OnOpen"
	nameClose      = "OnClose"
	nameTake       = "Take"
)

// handle deals with an item that is not a message.
func (s *service) handle(it *item) {
	if it.op == opFunc {
		it.ev.(func())() // somebody waits for it, even if the behaviour is gone
		s.answer()
		return
	}
	if s.gone.Load() {
		return
	}
	switch it.op {
	case opEvent:
		if s.hooks.event != nil {
			s.running.Store(&nameEvent)
			from, open := s.links[it.link]
			if it.link != nil && !open {
				return // told by an agent that has outlived its connection
			}
			s.n.note(s.id, nameEvent, it.link)
			s.hooks.event.OnEvent(s.agent, from, it.ev)
		}
	case opConnect:
		s.connected(it.link, it.ev.(*slot))
	case opLost:
		s.disconnected(it.link, it.ev.(error))
	case opTick:
		s.ticked.Store(false)
		if s.hooks.tick != nil {
			s.running.Store(&nameTick)
			s.n.note(s.id, nameTick, nil)
			s.hooks.tick.OnTick(s.agent, s.n.env.Now())
		}
	case opDialError:
		if s.hooks.dialError != nil {
			s.running.Store(&nameDialError)
			s.n.note(s.id, nameDialError, nil)
			f := it.ev.(dialFailure)
			s.hooks.dialError.OnDialError(s.agent, f.dial, f.err)
		}
	case opReport:
		s.running.Store(&nameReport)
		r := it.ev.(agent.Report)
		if s.hooks.report != nil {
			s.n.note(s.id, nameReport, nil)
			s.hooks.report.OnReport(s.agent, r)
		}
	}
}

// connected calls OnConnect and opens the slot.
func (s *service) connected(l *link, sl *slot) {
	sl.opens.Add(-1)
	info := l.info
	info.Service = conn.Service{ID: s.id, Name: s.info.Name, Version: sl.peerVersion()}
	var h behavior.Handler
	if s.hooks.connect != nil {
		s.running.Store(&nameConnect)
		s.n.note(s.id, nameConnect, l)
		h = s.hooks.connect.OnConnect(s.agent, info)
	}
	if h != nil {
		if t := reflect.TypeOf(h); t != s.checked {
			if err := behavior.CheckHandler(h); err != nil {
				panic(err) // an error in the program, found at the first connection
			}
			s.checked = t
		}
	}
	s.links[l] = info
	_ = l.post(linkEvent{slot: sl, op: evOpened, ev: h}) // a link that has ended needs no handler
}

// disconnected calls OnDisconnect if OnConnect has returned.
func (s *service) disconnected(l *link, cause error) {
	info, ok := s.links[l]
	if !ok {
		return
	}
	delete(s.links, l)
	if s.hooks.disconnect != nil {
		s.running.Store(&nameDisconnect)
		s.n.note(s.id, nameDisconnect, l)
		s.hooks.disconnect.OnDisconnect(s.agent, info, cause)
	}
}
