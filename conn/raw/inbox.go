package raw

import "sync"

// An inbox holds the messages that wait for OnMessage, and calls it from a
// goroutine that lives while there are some.
//
//	reader ─put─> ring of copies ─> worker: OnMessage
type inbox struct {
	c      *Conn
	depth  int
	policy Policy
	room   chan struct{} // one token: put may look again
	ended  chan struct{} // closed when it is closed and the worker has ended

	mu     sync.Mutex // guards what follows
	ring   []*[]byte  // grows to depth
	first  int
	n      int
	busy   bool // the worker runs
	closed bool
}

// copies are the buffers of messages that wait.
var copies = sync.Pool{New: func() any { return new([]byte) }}

// maxCopy is the largest buffer that is kept for the next message.
const maxCopy = 64 << 10

func newInbox(c *Conn) *inbox {
	return &inbox{c: c, depth: c.node.config.InQueue, policy: c.node.config.Inbound, room: make(chan struct{}, 1), ended: make(chan struct{})}
}

// put takes a copy of a message, or drops one. It waits if the policy is Block.
func (b *inbox) put(msg []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.n == b.depth {
		switch b.policy {
		case DropNewest:
			b.c.dropped.Add(1)
			return
		case DropOldest:
			b.drop()
		default:
			b.mu.Unlock()
			select {
			case <-b.room:
			case <-b.c.ctx.Done():
				b.mu.Lock()
				b.c.dropped.Add(1)
				return
			}
			b.mu.Lock()
		}
	}
	m := copies.Get().(*[]byte)
	*m = append((*m)[:0], msg...)
	b.push(m)
	if !b.busy {
		b.busy = true
		go b.run()
	}
}

// push adds a message. Callers hold mu.
func (b *inbox) push(m *[]byte) {
	if b.n == len(b.ring) {
		grown := make([]*[]byte, min(b.depth, max(4, 2*len(b.ring))))
		for i := range b.n {
			grown[i] = b.ring[(b.first+i)%len(b.ring)]
		}
		b.ring, b.first = grown, 0
	}
	b.ring[(b.first+b.n)%len(b.ring)] = m
	b.n++
}

// pop removes the oldest message. Callers hold mu.
func (b *inbox) pop() *[]byte {
	m := b.ring[b.first]
	b.ring[b.first] = nil
	b.first = (b.first + 1) % len(b.ring)
	b.n--
	select {
	case b.room <- struct{}{}:
	default:
	}
	return m
}

// drop drops the oldest message. Callers hold mu.
func (b *inbox) drop() {
	free(b.pop())
	b.c.dropped.Add(1)
}

func free(m *[]byte) {
	if cap(*m) <= maxCopy {
		copies.Put(m)
	}
}

// run calls OnMessage until nothing waits. Once the connection has ended, what
// waits is dropped.
func (b *inbox) run() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.n > 0 {
		if b.c.ended.Load() != nil {
			b.drop()
			continue
		}
		m := b.pop()
		b.mu.Unlock()
		b.c.process(*m)
		free(m)
		b.mu.Lock()
	}
	b.busy = false
	b.ring, b.first = nil, 0 // an idle connection costs no queue
	if b.closed {
		close(b.ended)
	}
}

// close tells that nothing is put any more. ended is closed when the worker has
// taken what waits.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if !b.busy {
		close(b.ended)
	}
}

// waiting is how many messages wait.
func (b *inbox) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}
