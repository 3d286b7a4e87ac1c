package network

import (
	"sync"
	"sync/atomic"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/wire"
)

// A slot is a service's part of a link: its windows in both directions, and its
// handler. Slot 0 of a link stands for routed messages.
//
//	detached ── both ends have the service ──> opening ── OnConnect returns ──> toHandler
//	                                              └───────────────────────────> toBehavior
//	any ── the link or the service ends ──> detached
type slot struct {
	link *link
	id   identity.ServiceID
	svc  *service // nil: this node does not have the service

	// Sending; guarded by link.out.mu.
	credit  int  // what may still be sent
	window  int  // the most that credit can be; 0: the other end does not have the service
	foreign bool // the ends have different services under one ID
	ready   chan struct{}

	// peer is how the other end describes the service; ID 0: it lacks it.
	// Guarded by link.out.mu, and replaced under the link's turn.
	peer wire.Service

	// Receiving; owned by the link's turn.
	state   slotState
	handler behavior.Handler
	agent   *agent.Handler
	hooks   handlerHooks
	stage   *chunk   // messages of this batch for the behaviour
	dirty   bool     // this batch has used the slot
	inline  int      // consumed without a queue, not yet granted
	held    []*chunk // messages that came while opening
	heldEv  []linkEvent

	replaced atomic.Bool  // another slot has taken its place
	unread   atomic.Int64 // bytes of the window in queues of this node
	consumed atomic.Int64 // bytes not yet granted anew

	timers timers
	ticked atomic.Bool   // a tick is queued
	told   bool          // the behaviour has been told of the slot; owned by the link's turn
	opens  *atomic.Int32 // OnConnect calls that wait, also of slots before this one
	mute   atomic.Bool   // there is no handler: OnConnect has returned none, or the slot has ended
}

type slotState uint8

const (
	detached   slotState = iota
	opening              // OnConnect has yet to return
	toBehavior           // no handler
	toHandler
)

// handlerHooks are the optional callbacks of a handler.
type handlerHooks struct {
	open  behavior.Opener
	close behavior.Closer
	tick  behavior.HandlerTicker
	event behavior.HandlerEventReceiver
}

func hooksOf(h behavior.Handler) (k handlerHooks) {
	k.open, _ = h.(behavior.Opener)
	k.close, _ = h.(behavior.Closer)
	k.tick, _ = h.(behavior.HandlerTicker)
	k.event, _ = h.(behavior.HandlerEventReceiver)
	return k
}

// matched reports whether both ends have the service. Under the link's turn.
func (s *slot) matched() bool {
	return s.svc != nil && !s.svc.info.Private && s.peer.ID != 0 && !s.peer.Private && s.peer.Name == s.svc.info.Name
}

// grantAt is how much has to be consumed for a grant to be worth a frame.
func grantAt(window int) int64 { return int64(window / 4) }

// consume counts bytes that have left the queues of this node, and grants
// them to the sender when they are enough. Any goroutine.
func (s *slot) consume(n int) {
	s.unread.Add(int64(-n))
	s.grant(int64(n))
}

func (s *slot) grant(n int64) {
	if s.consumed.Add(n) >= grantAt(s.localWindow()) {
		if n := s.consumed.Swap(0); n > 0 {
			s.link.out.credit(s.id, int(n))
		}
	}
}

// localWindow is what the other end may have under way to here.
func (s *slot) localWindow() int {
	if s.id == 0 {
		return s.link.n.cfg.Limits.RoutedWindow
	}
	return s.svc.info.Window
}

// touch notes that the batch has used the slot. Under the turn.
func (s *slot) touch() {
	if !s.dirty {
		s.dirty = true
		s.link.dirty = append(s.link.dirty, s)
	}
}

// receive deals with a message to the connection. Under the turn.
func (s *slot) receive(kind conn.Kind, payload []byte) {
	l := s.link
	switch s.state {
	case toHandler:
		if kind >= conn.KindReserved {
			s.queue(kind, s.id, payload) // a part takes it, or it is counted
			return
		}
		l.msg = conn.Message{Service: s.id, Kind: kind, FromService: s.id, From: l.node, Conn: l.id, Hops: 1, Payload: payload}
		if l.current.Load() != s {
			l.current.Store(s)
		}
		if l.n.trace != nil {
			l.n.noteMessage(s.id, &l.msg)
		}
		s.handler.OnMessage(s.agent, &l.msg)
		s.inline += len(payload) + overhead
		s.touch()
	case opening:
		s.hold(kind, s.id, payload, true)
	default:
		s.queue(kind, s.id, payload)
	}
}

// hold keeps a message until OnConnect has said whether there is a handler:
// messages for the behaviour too, so that none overtakes another. Under the turn.
func (s *slot) hold(kind conn.Kind, from identity.ServiceID, payload []byte, direct bool) {
	m := conn.Message{Kind: kind, FromService: from, Hops: 1, Payload: payload}
	last := len(s.held) - 1
	if last < 0 || s.held[last].full() {
		s.held = append(s.held, newChunk(s))
		last++
	}
	c := s.held[last]
	c.add(&m, s.link, false)
	c.items[len(c.items)-1].direct = direct
	c.cost += len(payload) + overhead
	s.unread.Add(int64(len(payload) + overhead))
}

// release deals with the messages that were held as if they came in now. Under
// the turn.
func (s *slot) release() {
	held := s.held
	s.held = nil
	for _, c := range held {
		for i := range c.items {
			it := &c.items[i]
			if payload := c.buf[it.off : it.off+it.len]; it.direct {
				s.receive(it.kind, payload)
			} else {
				s.queue(it.kind, it.from, payload)
			}
		}
		s.unread.Add(int64(-c.cost)) // they have been counted once more
		c.free()
	}
}

// queue stages a message for the behaviour, unless one of its parts takes it.
// Under the turn.
func (s *slot) queue(kind conn.Kind, from identity.ServiceID, payload []byte) {
	if s.state == opening {
		s.hold(kind, from, payload, false)
		return
	}
	l := s.link
	l.msg = conn.Message{Service: s.id, Kind: kind, FromService: from, From: l.node, Conn: l.id, Hops: 1, Payload: payload}
	s.touch()
	if s.svc.takes(&l.msg) {
		s.inline += len(payload) + overhead
		return
	}
	if kind >= conn.KindReserved {
		l.n.count.unknownService.Add(1) // the behaviour has no part for it
		s.inline += len(payload) + overhead
		return
	}
	if s.stage != nil && s.stage.full() {
		s.publish()
	}
	if s.stage == nil {
		s.stage = newChunk(s)
	}
	s.stage.add(&l.msg, l, false)
	s.stage.cost += len(payload) + overhead
}

// publish hands the staged messages to the behaviour. Under the turn.
func (s *slot) publish() {
	c := s.stage
	s.stage = nil
	s.unread.Add(int64(c.cost))
	if !s.svc.deliver(c) {
		s.consume(c.cost)
		c.free()
	}
}

// settle ends a batch: it publishes, and grants what was consumed inline.
func (s *slot) settle() {
	s.dirty = false
	if s.stage != nil {
		s.publish()
	}
	if n := s.inline; n > 0 {
		s.inline = 0
		s.grant(int64(n))
	}
}

// overrun reports whether the other end has sent beyond its window. A service
// that was registered anew may see messages of its predecessor's window.
func (s *slot) overrun() bool { return s.unread.Load() > 2*int64(s.localWindow()) }

// timers are the pending After calls of an agent.
type timers struct {
	mu     sync.Mutex // guards the rest
	m      map[uint64]env.Timer
	closed bool
}

// set starts a timer, unless there are too many.
func (t *timers) set(id uint64, start func() env.Timer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return agent.ErrStopped
	}
	if len(t.m) >= maxTimers {
		return agent.ErrQueueFull
	}
	if t.m == nil {
		t.m = make(map[uint64]env.Timer)
	}
	t.m[id] = start()
	return nil
}

// maxTimers bounds the pending timers of one agent.
const maxTimers = 1 << 16

// fired forgets a timer and reports whether it was still wanted.
func (t *timers) fired(id uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.m[id]
	delete(t.m, id)
	return ok && !t.closed
}

func (t *timers) cancel(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if timer := t.m[id]; timer != nil {
		timer.Stop()
		delete(t.m, id)
	}
}

// close stops all timers and refuses further ones.
func (t *timers) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, timer := range t.m {
		timer.Stop()
	}
	t.m, t.closed = nil, true
}
