package network

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/wire"
)

// An outbox is the sending half of a link. Senders append whole frames to a
// buffer; one writer swaps it for an empty one and writes it in one call, so
// that load makes batches by itself and nothing waits to fill one. Control
// frames have a buffer of their own, which goes first.
//
//	Send ──> data ─────┐
//	                   ├─ swap ──> writer ──> Conn.Write
//	credit ──> control ┘
//
// What services may append is bounded by their windows. Control frames answer
// what came in: whoever asks for maxControl bytes of them and does not read is
// closed.
type outbox struct {
	mu      sync.Mutex // guards all but the atomics
	wake    sync.Cond
	waiting bool   // the writer waits for frames
	spawn   func() // starts a writer, which ends when nothing is left to write; nil: the writer waits
	data    []byte
	box     *[]byte // what data goes back to the pool in
	control []byte
	parked  []byte // frames of other nodes that wait for the window of routed messages
	closed  error  // what senders are told
	stop    bool   // the writer ends at once
	flooded bool   // the other end asks for more than it reads

	writing  atomic.Int64 // when the present write began, in nanoseconds; 0: none
	messages atomic.Uint64
}

// buffers holds what outboxes write from. An idle outbox has none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// maxBuffer is the largest buffer that goes back to the pool.
const maxBuffer = 1 << 20

func (o *outbox) init() { o.wake.L = &o.mu }

// frame makes room in the data buffer. The caller holds mu, appends to
// o.data, and calls signal.
func (o *outbox) frame() {
	if o.data == nil {
		o.box = buffers.Get().(*[]byte)
		o.data = (*o.box)[:0]
	}
}

// signal wakes the writer. The caller holds mu.
func (o *outbox) signal() {
	switch {
	case !o.waiting:
	case o.spawn != nil:
		o.waiting = false
		o.spawn()
	default:
		o.waiting = false
		o.wake.Signal()
	}
}

// writeOnDemand has spawn start a writer whenever there is something to write.
func (o *outbox) writeOnDemand(spawn func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spawn, o.waiting = spawn, true
	if len(o.data)+len(o.control) > 0 {
		o.signal()
	}
}

// reserve takes cost out of a window. The caller holds mu.
func (o *outbox) reserve(s *slot, cost int) error {
	if o.closed != nil {
		return o.closed
	}
	if s.window == 0 || s.foreign {
		return agent.ErrNoService
	}
	if s.credit < cost {
		return agent.ErrQueueFull
	}
	s.credit -= cost
	return nil
}

// direct appends a message to the other end's handler.
func (o *outbox) direct(s *slot, kind conn.Kind, payload []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.reserve(s, len(payload)+overhead); err != nil {
		return err
	}
	o.frame()
	o.data = append(wire.AppendDirect(o.data, s.id, kind, len(payload)), payload...)
	o.messages.Add(1)
	o.signal()
	return nil
}

// peer appends a message to the other end's behaviour.
func (o *outbox) peer(s *slot, h *wire.Peer, payload []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.reserve(s, len(payload)+overhead); err != nil {
		return err
	}
	o.frame()
	o.data = append(wire.AppendPeer(o.data, h, len(payload)), payload...)
	o.messages.Add(1)
	o.signal()
	return nil
}

// routed appends a message that the other end may forward.
func (o *outbox) routed(s *slot, h *wire.Routed, payload []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.reserve(s, len(payload)+wire.RoutedHeader+overhead); err != nil {
		return err
	}
	o.frame()
	o.data = append(wire.AppendRouted(o.data, h, len(payload)), payload...)
	o.messages.Add(1)
	o.signal()
	return nil
}

// forward appends the body of a routed frame as it came in, but for its hop
// counts. Where the window is used up the frame is parked, up to limit bytes.
func (o *outbox) forward(s *slot, body []byte, ttl, hops uint8, limit int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := agent.ErrQueueFull
	if len(o.parked) == 0 {
		err = o.reserve(s, len(body)+overhead)
	}
	to := &o.data
	switch {
	case err == nil:
		o.frame()
		o.messages.Add(1)
		o.signal()
	case err != agent.ErrQueueFull || o.closed != nil || len(o.parked)+len(body) > limit:
		return err
	default:
		to = &o.parked
	}
	*to = wire.AppendPrefix(*to, wire.TypeRouted, len(body))
	at := len(*to)
	*to = append(*to, body...)
	wire.Forwarded((*to)[at:], ttl, hops)
	return nil
}

// unpark moves what the window now allows. The caller holds mu.
func (o *outbox) unpark(s *slot) {
	moved := 0
	for moved < len(o.parked) && o.closed == nil {
		_, n := wire.Prefix(o.parked[moved:])
		if o.reserve(s, n+overhead) != nil {
			break
		}
		o.frame()
		o.data = append(o.data, o.parked[moved:moved+wire.PrefixSize+n]...)
		o.messages.Add(1)
		moved += wire.PrefixSize + n
	}
	if moved == 0 {
		return
	}
	o.signal()
	if o.parked = o.parked[:copy(o.parked, o.parked[moved:])]; len(o.parked) == 0 {
		o.parked = nil
	}
}

// order appends a control frame.
func (o *outbox) order(appendFrame func([]byte) []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed == nil && o.roomForControl() {
		o.control = appendFrame(o.control)
		o.signal()
	}
}

// roomForControl reports whether a control frame may still be appended. The
// caller holds mu.
func (o *outbox) roomForControl() bool {
	o.flooded = o.flooded || len(o.control) > maxControl
	return !o.flooded
}

// maxControl is how many bytes of control frames may wait to be written.
const maxControl = 1 << 20

// credit appends a grant. It is order without a closure: grants are frequent.
func (o *outbox) credit(id identity.ServiceID, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed == nil && o.roomForControl() {
		o.control = wire.AppendCredit(o.control, id, uint32(n))
		o.signal()
	}
}

// granted adds to a window what the other end has consumed.
func (o *outbox) granted(s *slot, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s.credit = min(s.credit+n, s.window)
	if s.id == 0 {
		o.unpark(s)
	}
	if s.ready != nil {
		close(s.ready)
		s.ready = nil
	}
}

// ready returns a channel that is closed when a window has grown.
func (o *outbox) ready(s *slot) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.ready == nil {
		s.ready = make(chan struct{})
		if o.closed != nil {
			close(s.ready)
		}
	}
	return s.ready
}

// goodbye appends a goodbye. Nothing else is taken in from now on.
func (o *outbox) goodbye(ce *conn.CloseError) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = agent.ErrNoConn
	o.frame()
	o.data = wire.AppendGoodbye(o.data, ce.Code, ce.Reason)
	o.signal()
}

// end stops the writer. Frames that it has not yet taken are lost.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed == nil {
		o.closed = agent.ErrNoConn
	}
	o.stop = true
	o.waiting = false // no other writer is started
	o.wake.Signal()
}

// unsent returns the messages that the writer has not taken. Nothing is appended
// any more.
func (o *outbox) unsent() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]byte(nil), o.data...)
}

// pending returns how many bytes wait for the writer.
func (o *outbox) pending() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.data) + len(o.control) + len(o.parked)
}

// overrun reports whether the other end asks for more than it reads.
func (o *outbox) overrun() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.flooded
}

// run writes until end is called, until a write fails, and returns that error,
// or until there is nothing to write, if another writer is started then. now
// tells the time.
func (o *outbox) run(c conn.Conn, now func() time.Time) error {
	var control, data []byte
	var box *[]byte
	for {
		o.mu.Lock()
		for !o.stop && len(o.data) == 0 && len(o.control) == 0 {
			if box != nil {
				recycle(box, data)
				box, data = nil, nil
			}
			o.waiting = true
			if o.spawn != nil {
				o.mu.Unlock()
				return nil
			}
			o.wake.Wait()
		}
		stop := o.stop
		o.mu.Unlock()
		if stop {
			return nil
		}
		if o.spawn == nil {
			runtime.Gosched() // senders that are runnable now join this batch
		}
		o.mu.Lock()
		control, o.control = o.control, control[:0]
		data, o.data = o.data, data[:0]
		box, o.box = o.box, box
		o.mu.Unlock()
		if err := o.write(c, now, control, data); err != nil {
			return err
		}
		if cap(control) > maxIdleControl {
			control = nil
		}
	}
}

// maxIdleControl is what an idle outbox keeps for control frames.
const maxIdleControl = 256

func (o *outbox) write(c conn.Conn, now func() time.Time, control, data []byte) error {
	o.writing.Store(now().UnixNano())
	defer o.writing.Store(0)
	if len(control) > 0 {
		if _, err := c.Write(control); err != nil {
			return err
		}
	}
	if len(data) > 0 {
		if _, err := c.Write(data); err != nil {
			return err
		}
	}
	return nil
}

// recycle gives a buffer back, with what it has grown to.
func recycle(box *[]byte, b []byte) {
	if cap(b) <= maxBuffer {
		*box = b[:0]
		buffers.Put(box)
	}
}
