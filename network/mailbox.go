package network

import (
	"sync"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// An opcode says what an item of a mailbox is.
type opcode uint8

const (
	opMessage   opcode = iota + 1 // a message: kind, fromService, hops, payload; origin in front of the payload if far
	opEvent                       // ev, from the handler on link, or from the behaviour itself
	opConnect                     // link has opened
	opLost                        // link has ended because of ev.(error)
	opDialError                   // ev.(dialFailure)
	opReport                      // ev.(agent.Report)
	opTick                        // the interval has passed
	opFunc                        // ev.(func()), on the behaviour's turn
)

// An item is one thing for a behaviour to deal with. Payloads live in the
// buffer of the item's chunk.
type item struct {
	op       opcode
	far      bool // the origin stands in front of the payload: the sender is not the other end of link
	bounded  bool // counts against the bound of the mailbox
	direct   bool // held by a slot, for its handler if there will be one
	hops     uint8
	kind     conn.Kind
	from     identity.ServiceID
	off, len uint32
	link     *link
	ev       any
}

// A chunk is a run of items and the bytes of their payloads. Chunks are pooled:
// handing over a message allocates nothing.
type chunk struct {
	next  *chunk
	slot  *slot // whose window the messages came through; nil: events and messages of no window
	cost  int   // what they took of the window
	items []item
	buf   []byte
}

const (
	chunkItems  = 512
	chunkBytes  = 64 << 10
	chunkPooled = 2 * chunkBytes // larger buffers are left to the collector
)

var chunks = sync.Pool{New: func() any { return new(chunk) }}

func newChunk(s *slot) *chunk {
	c := chunks.Get().(*chunk)
	c.slot = s
	return c
}

func (c *chunk) free() {
	clear(c.items)
	if cap(c.buf) > chunkPooled {
		c.buf = nil
	}
	*c = chunk{items: c.items[:0], buf: c.buf[:0]}
	chunks.Put(c)
}

// full reports whether the next item belongs into another chunk.
func (c *chunk) full() bool { return len(c.items) >= chunkItems || len(c.buf) >= chunkBytes }

// add appends a message. far messages carry their origin.
func (c *chunk) add(m *conn.Message, l *link, far bool) {
	off := len(c.buf)
	if far {
		c.buf = append(c.buf, m.From[:]...)
	}
	c.buf = append(c.buf, m.Payload...)
	c.items = append(c.items, item{op: opMessage, far: far, hops: m.Hops, kind: m.Kind, from: m.FromService,
		off: uint32(off), len: uint32(len(c.buf) - off), link: l})
}

// message rebuilds the message of an item in m.
func (c *chunk) message(it *item, m *conn.Message, self identity.NodeID) {
	data := c.buf[it.off : it.off+it.len]
	m.From = self
	m.Conn = 0
	if it.link != nil {
		m.From, m.Conn = it.link.node, it.link.id
	}
	if it.far {
		copy(m.From[:], data)
		data = data[identity.NodeIDSize:]
	}
	m.Kind, m.FromService, m.Hops, m.Payload = it.kind, it.from, it.hops, data
}

// A mailbox is the queue of a behaviour: what comes in at the same place comes
// out in the same order. The zero mailbox is empty.
//
//	idle ── put ──> scheduled: a worker takes chunks until none is left ──> idle
type mailbox struct {
	mu         sync.Mutex // guards everything below
	head, tail *chunk
	scheduled  bool          // a worker runs, or is about to
	closed     bool          // nothing is taken in any more
	bounded    int           // items that count against the bound
	bytes      int           // bytes of messages outside of windows
	space      chan struct{} // closed when there is room again; nil: nobody waits
}

// put appends an item that is not bound by a window and reports whether the
// caller has to schedule a worker.
func (b *mailbox) put(it item) (schedule, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false, false
	}
	b.last().items = append(b.tail.items, it)
	return b.wake(), true
}

// putBounded is put for items of which at most limit may wait.
func (b *mailbox) putBounded(it item, limit int) (schedule bool, full, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false, false, true
	}
	if b.bounded >= limit {
		return false, true, false
	}
	b.bounded++
	it.bounded = true
	b.last().items = append(b.tail.items, it)
	return b.wake(), false, false
}

// putMessage appends a message that came through no window.
func (b *mailbox) putMessage(m *conn.Message, l *link, far bool, limit, maxBytes int) (schedule, full, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false, false, true
	}
	if b.bounded >= limit || b.bytes > 0 && b.bytes+len(m.Payload) > maxBytes {
		return false, true, false
	}
	b.bounded++
	b.bytes += len(m.Payload)
	c := b.last()
	c.add(m, l, far)
	c.items[len(c.items)-1].bounded = true
	return b.wake(), false, false
}

// putChunk appends a chunk of messages that came through a window.
func (b *mailbox) putChunk(c *chunk) (schedule, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false, false
	}
	b.append(c)
	return b.wake(), true
}

// last returns a chunk at the end for items that came through no window.
func (b *mailbox) last() *chunk {
	if b.tail == nil || b.tail.slot != nil || b.tail.full() {
		b.append(newChunk(nil))
	}
	return b.tail
}

func (b *mailbox) append(c *chunk) {
	if b.tail == nil {
		b.head = c
	} else {
		b.tail.next = c
	}
	b.tail = c
}

func (b *mailbox) wake() bool {
	if b.scheduled {
		return false
	}
	b.scheduled = true
	return true
}

// take removes the first chunk. nil: the mailbox is empty and idle.
func (b *mailbox) take() *chunk {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.head
	if c == nil {
		b.scheduled = false
		return nil
	}
	if b.head = c.next; b.head == nil {
		b.tail = nil
	}
	c.next = nil
	return c
}

// settle gives back what n bounded items with some bytes of payload took.
func (b *mailbox) settle(n, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bounded -= n
	b.bytes -= bytes
	if b.space != nil {
		close(b.space)
		b.space = nil
	}
}

// room returns a channel that is closed when items have been settled.
func (b *mailbox) room() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.space == nil {
		b.space = make(chan struct{})
	}
	return b.space
}

// close refuses further items. What is queued is still taken.
func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.space != nil {
		close(b.space)
		b.space = nil
	}
}

// queued returns how many bounded items wait.
func (b *mailbox) queued() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bounded
}
