package network

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/frames"
)

// A link is an open connection: a [conn.Conn], a reader that runs the handlers,
// an outbox with its writer, and a slot for each service.
//
// The reader holds the link's turn for a batch of frames; events from elsewhere
// are queued and drained under the same turn, by the reader after its batch or
// by a goroutine that is started for them. So callbacks of handlers never
// overlap, and nobody waits for a reader that waits for the network.
type link struct {
	n    *Node
	id   identity.ConnID
	node identity.NodeID
	c    conn.Conn
	info conn.Info // Service is zero
	log  *slog.Logger
	ctx  context.Context // ends with the link
	stop context.CancelCauseFunc

	session *session // with Config.Durable: what c is; nil: it is a connection
	renewal renewal

	peerReady uint64 // what the other end had said when it said that it is ready

	peerInstance uint64
	peerMessage  int // largest payload that the other end takes
	readOnly     atomic.Bool
	host         string // counts against Limits.ConnsPerHost; empty: none does

	out    outbox
	slots  atomic.Pointer[[]*slot] // sorted by ID; replaced under the turn and out.mu
	routed *slot                   // slot 0

	events eventQueue
	drains func() // drain, bound once: it is started for every event that finds the queue idle

	turn sync.Mutex // the turn; guards what follows
	msg  conn.Message

	last      *slot   // the slot of the last frame: the next is often for the same
	dirty     []*slot // slots that the batch has used
	refused   int     // refusals that were answered
	goodbyes  int     // received
	unlearned bool    // the table has been told of the end; guarded by n.routing
	done      bool    // finish has run

	current atomic.Pointer[slot]   // whose callback runs, or ran last in this batch; stored under the turn
	hook    atomic.Pointer[string] // which callback; nil: OnMessage
	batches atomic.Uint64          // turns taken

	grace    env.Timer             // closes the connection if the other end does not; guarded by events.mu
	closing  atomic.Pointer[error] // the first cause
	ended    chan struct{}         // closed after finish
	received atomic.Uint64         // messages
	renewals atomic.Uint64         // connections that took the place of a broken one
	parted   atomic.Bool           // the other end has said goodbye
	reads    atomic.Uint64         // reads that brought something
	probe    atomic.Int64          // round-trip time of the last ping, in nanoseconds
	lastSeen atomic.Int64          // when something came in, as the caretaker noticed; unix nanoseconds
	seen     uint64                // reads when the caretaker last looked; owned by it
	told     time.Duration         // the round-trip time that the table knows; owned by the caretaker
	cares    uint                  // how often the caretaker has looked; owned by it
	datagram atomic.Bool           // datagrams have been announced to the other end

	datagramsOut atomic.Uint64 // that were sent, of a durable link

	in   frames.Buffer // owned by the reader
	need int           // what the next frame takes, if known; owned by the reader
	deaf bool          // the other end has broken the protocol; owned by the reader

	datagramsIn  bool   // datagrams are received; owned by the turn
	datagramLast uint64 // number of the last that has come, of a durable link; owned by the turn

	// Owned by the caretaker.
	watched uint64    // batches when it last looked
	since   time.Time // when it first saw that batch
	warned  bool      // it has been logged
}

// A linkEvent is something for a slot's handler, or for the link itself.
type linkEvent struct {
	slot *slot
	from *link // whose handler it is from; nil: the behaviour
	ev   any
	op   linkOp
}

type linkOp uint8

const (
	evEvent  linkOp = iota // ev for the handler
	evOpened               // OnConnect returned ev.(behavior.Handler), which may be nil
	evTimer                // ev for the handler, from a timer of its own: always taken in
	evTick                 // the interval has passed
	evFunc                 // ev.(func()) under the turn
)

// An eventQueue holds what waits for the turn of a link.
type eventQueue struct {
	mu        sync.Mutex // guards the rest
	q         []linkEvent
	spare     []linkEvent
	scheduled bool // a goroutine drains, or is about to
	closed    bool
}

// post queues an event. Only evEvent counts against the limit.
func (l *link) post(e linkEvent) error {
	q := &l.events
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return agent.ErrNoConn
	}
	if e.op == evEvent && len(q.q) >= l.n.cfg.Limits.ConnEvents {
		q.mu.Unlock()
		l.n.count.eventsRefused.Add(1)
		return agent.ErrQueueFull
	}
	q.q = append(q.q, e)
	schedule := !q.scheduled
	q.scheduled = true
	q.mu.Unlock()
	if schedule {
		l.n.env.Go(l.drains)
	}
	return nil
}

// drain takes the turn for the events that wait.
func (l *link) drain() {
	l.turn.Lock()
	defer l.turn.Unlock()
	defer l.recoverPanic()
	for l.drainTurn() {
	}
}

// drainTurn deals with the events that wait and reports whether there were any.
// If not, the queue is idle. Under the turn.
func (l *link) drainTurn() bool {
	q := &l.events
	q.mu.Lock()
	batch := q.q
	if len(batch) == 0 {
		q.scheduled = false
		q.mu.Unlock()
		return false
	}
	q.q, q.spare = q.spare[:0], nil
	q.mu.Unlock()
	l.batches.Add(1)
	for i := range batch {
		l.handle(&batch[i])
	}
	l.settle()
	clear(batch)
	if cap(batch) <= maxSpare {
		q.mu.Lock()
		q.spare = batch[:0]
		q.mu.Unlock()
	}
	return true
}

// maxSpare is how many events a link that has been busy keeps room for.
const maxSpare = 4096

// handle deals with one event. Under the turn.
func (l *link) handle(e *linkEvent) {
	s := e.slot
	if e.op == evFunc {
		e.ev.(func())()
		return
	}
	if e.op == evOpened {
		h, _ := e.ev.(behavior.Handler)
		l.opened(s, h)
		return
	}
	switch {
	case e.op == evTick:
		s.ticked.Store(false)
		if s.state == toHandler && s.hooks.tick != nil {
			l.enter(s, &nameTick)
			s.hooks.tick.OnTick(s.agent, l.n.env.Now())
			l.leave()
		}
	case s.state == opening:
		s.heldEv = append(s.heldEv, *e)
	case s.state == toHandler && s.hooks.event != nil:
		var from conn.Info
		if e.from != nil {
			from = e.from.info
		}
		l.enter(s, &nameEvent)
		s.hooks.event.OnEvent(s.agent, from, e.ev)
		l.leave()
	}
}

// enter notes which callback runs, for the watchdog and for the log of a panic.
// OnMessage, which is called most, is noted by the slot alone, until the batch
// ends. Under the turn.
func (l *link) enter(s *slot, hook *string) {
	if hook != nil {
		l.n.note(s.id, *hook, l)
	}
	l.hook.Store(hook)
	l.current.Store(s)
}

func (l *link) leave() {
	l.current.Store(nil)
	l.hook.Store(nil)
}

// opened ends the opening of a slot: OnConnect has returned h. Under the turn.
func (l *link) opened(s *slot, h behavior.Handler) {
	if s.state != opening {
		return // the link or the service has ended meanwhile
	}
	events := s.heldEv
	s.heldEv = nil
	if h == nil {
		s.mute.Store(true)
		s.state = toBehavior
		s.release()
		return
	}
	info := l.info
	info.Service = s.peer.Service
	s.handler, s.hooks = h, hooksOf(h)
	if s.hooks.tick != nil {
		s.svc.ticking.add(s)
	}
	s.agent = agent.NewHandler(l.n.agentEnv(s.svc, l.ctx, l.log, &handlerBackend{s}), info)
	s.state = toHandler
	if s.hooks.open != nil {
		l.enter(s, &nameOpen)
		s.hooks.open.OnOpen(s.agent)
		l.leave()
	}
	s.release()
	for i := range events {
		l.handle(&events[i])
	}
}

// settle ends a batch of frames or events. Under the turn.
func (l *link) settle() {
	if l.current.Load() != nil {
		l.current.Store(nil)
	}
	for _, s := range l.dirty {
		s.settle()
	}
	clear(l.dirty)
	l.dirty = l.dirty[:0]
}

// recoverPanic ends the link if a handler has panicked. It is deferred while
// the turn is held.
func (l *link) recoverPanic() {
	v := recover()
	if v == nil {
		return
	}
	l.n.count.panics.Add(1)
	s, hook := l.current.Load(), l.hook.Load()
	l.leave()
	if hook == nil {
		hook = &nameMessage
	}
	attrs := []any{"panic", v, "callback", *hook, "stack", string(debug.Stack())}
	cause := &conn.CloseError{Code: conn.CodePanic}
	if s != nil {
		// The slot's handler is broken: it is not called again, not even to close.
		attrs = append(attrs, "service", s.id)
		cause.Reason = fmt.Sprintf("the handler of service %d panicked", s.id)
		s.hooks = handlerHooks{}
		s.handler = behavior.HandlerFunc(func(*agent.Handler, *conn.Message) {})
	} else {
		cause.Reason = "internal error"
	}
	l.log.Error("handler panicked; its connection is closed", attrs...)
	l.settle()
	l.events.mu.Lock()
	l.events.scheduled = false
	l.events.mu.Unlock()
	l.close(cause)
}

// find returns the slot of a service, or nil. Any goroutine.
func (l *link) find(id identity.ServiceID) *slot {
	slots := *l.slots.Load()
	least, most := 0, len(slots)
	for least < most { // by hand: it is called for every message
		if middle := (least + most) / 2; slots[middle].id < id {
			least = middle + 1
		} else {
			most = middle
		}
	}
	if least < len(slots) && slots[least].id == id {
		return slots[least]
	}
	return nil
}

// close ends the link in good order: what was sent before still leaves, then a
// goodbye with the cause. The first cause wins.
func (l *link) close(cause error) {
	if !l.closing.CompareAndSwap(nil, &cause) {
		return
	}
	l.n.unlearn(l) // first, so that what is still to be forwarded goes another way
	l.out.goodbye(conn.AsCloseError(cause))
	l.events.mu.Lock()
	defer l.events.mu.Unlock()
	if !l.events.closed {
		l.grace = l.n.env.AfterFunc(closeGrace, func() { l.c.Close(cause) })
	}
}

// farewell deals with a goodbye of the other end. Each side answers the first
// that it receives, and closes the connection on the second: then it has read
// whatever the other end sent, and the other end has read what was sent to it.
// Under the turn.
//
//	goodbye ──────────> answers
//	answers <────────── goodbye
//	goodbye ──────────> closes
func (l *link) farewell(ce *conn.CloseError) {
	l.goodbyes++
	l.parted.Store(true)
	switch {
	case l.goodbyes > 1:
		l.c.Close(l.cause())
	case l.closing.Load() == nil:
		l.close(ce)
	default:
		l.out.goodbye(conn.AsCloseError(l.cause()))
	}
}

// closeGrace is how long the other end has to read the goodbye and close.
const closeGrace = time.Second

// abort ends the link at once. The first cause wins.
func (l *link) abort(cause error) {
	l.closing.CompareAndSwap(nil, &cause)
	l.c.Close(cause)
}

// cause returns why the link has ended, or ends.
func (l *link) cause() error {
	if p := l.closing.Load(); p != nil {
		return *p
	}
	return nil
}

// start runs the link's goroutines. The node has made it known before. Over a
// connection that feeds its owner there is no reader, and a writer only while
// there is something to write.
func (l *link) start() {
	l.n.running.add(1)
	f, feeds := l.c.(env.Feeder)
	if _, real := l.n.env.(env.Real); !feeds || real {
		l.n.running.add(1)
		l.n.env.Go(l.writeLoop)
	} else {
		write := l.writeLoop
		l.out.writeOnDemand(func() {
			l.n.running.add(1)
			l.n.env.Go(write)
		})
	}
	switch {
	case !feeds:
		l.n.env.Go(l.readLoop)
		return
	case l.session != nil:
		f.Feed(l.feed)
		return
	}
	l.n.env.Go(func() {
		l.parse()
		f.Feed(l.feed)
	})
}

func (l *link) writeLoop() {
	defer l.n.running.done()
	if err := l.out.run(l.c, l.n.env.Now); err != nil {
		l.abort(err)
	}
}

// finish ends the link for everybody: handlers, behaviours, table, node. It
// runs once, on the reader's goroutine, when nothing more can come in.
func (l *link) finish(err error) {
	l.closing.CompareAndSwap(nil, &err)
	cause := l.cause()
	l.c.Close(cause)
	l.out.end()
	l.n.forget(l)
	l.n.releaseHost(l.host)
	l.stop(cause)

	l.turn.Lock()
	l.events.mu.Lock()
	l.events.closed = true
	if l.grace != nil {
		l.grace.Stop()
	}
	l.events.mu.Unlock()
	l.drainClosed()
	l.done = true
	l.n.partsLost(l, cause)
	var unsent map[identity.ServiceID][]conn.Message
	if l.session != nil {
		unsent = l.session.unacknowledged(l.out.unsent())
	}
	for _, s := range *l.slots.Load() {
		l.detach(s, unsure(cause, unsent[s.id]))
	}
	l.settle()
	l.turn.Unlock()

	l.n.removed(l)
	for _, s := range *l.slots.Load() {
		l.out.granted(s, 0) // wakes those who wait for a window
	}
	close(l.ended)
}

// drainClosed delivers the events that were queued before the end.
func (l *link) drainClosed() {
	defer l.recoverPanic()
	for l.drainTurn() {
	}
}

// detach ends a slot: its handler and, if OnConnect has been or will be called,
// its behaviour are told. Under the turn.
func (l *link) detach(s *slot, cause error) {
	if s.state == detached {
		return
	}
	was := s.state
	s.timers.close()
	if was == toHandler {
		s.svc.ticking.remove(s)
	}
	if was == toHandler && s.hooks.close != nil {
		func() {
			defer l.recoverPanic()
			l.enter(s, &nameClose)
			s.hooks.close.OnClose(s.agent, cause)
			l.leave()
		}()
	}
	s.mute.Store(true)
	s.state = detached
	s.release()
	s.heldEv = nil
	if s.stage != nil {
		s.publish()
	}
	s.svc.put(item{op: opLost, link: l, ev: cause})
}
