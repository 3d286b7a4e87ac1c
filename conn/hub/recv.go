package hub

import (
	"context"
	"errors"
	"sync"

	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/identity"
)

// An inbound is the members that have something to be received, in the order in
// which they take turns.
type inbound struct {
	signal chan struct{} // one token: look again

	mu    sync.Mutex // guards what follows, and the part of each member
	queue []*member
	head  int                         // of queue
	ended map[identity.NodeID]*member // that have left something

	// Of the goroutine that calls Recv.
	now  *member // whose turn it is; nil: nobody's
	left int     // messages of its turn
	last *member // whose message was returned; nil: nobody's
}

// An inboundPart is what an inbound knows of a member.
type inboundPart struct {
	queued bool
	gone   bool    // nothing more is received from it
	former *member // of the same ID: it comes first
}

// turn is how many messages are received from one member while others wait.
const turn = 16

// add queues a member.
func (i *inbound) add(m *member) {
	i.mu.Lock()
	if m.in.queued || m.in.gone {
		i.mu.Unlock()
		return
	}
	m.in.queued = true
	i.push(m)
	i.mu.Unlock()
	select {
	case i.signal <- struct{}{}:
	default:
	}
}

// next returns the member whose turn is next, or nil.
func (i *inbound) next() *member {
	i.mu.Lock()
	defer i.mu.Unlock()
	for range len(i.queue) - i.head {
		m := i.queue[i.head]
		i.queue[i.head] = nil
		if i.head++; i.head == len(i.queue) {
			i.queue, i.head = i.queue[:0], 0
		}
		if f := m.in.former; f != nil && !f.in.gone && !f.removed.Load() {
			i.push(m)
			continue
		}
		m.in.former = nil
		m.in.queued = false
		if !m.in.gone && !m.removed.Load() {
			return m
		}
	}
	return nil
}

// push appends to the queue. The caller holds mu.
func (i *inbound) push(m *member) {
	if i.head > 64 && i.head > len(i.queue)/2 {
		n := copy(i.queue, i.queue[i.head:])
		clear(i.queue[n:])
		i.queue, i.head = i.queue[:n], 0
	}
	i.queue = append(i.queue, m)
}

// over notes that a member has ended, and may have left something to be received.
func (i *inbound) over(m *member) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !m.in.gone {
		i.ended[m.id] = m
	}
}

// gone notes that nothing more is received from a member.
func (i *inbound) gone(m *member) {
	i.mu.Lock()
	defer i.mu.Unlock()
	m.in.gone = true
	if i.ended[m.id] == m {
		delete(i.ended, m.id)
	}
}

// follow has a member come after another of its ID that has ended.
func (i *inbound) follow(m, former *member) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if former == nil {
		former = i.ended[m.id]
	}
	m.in.former = former
}

// Recv waits for the next message of any member, until ctx ends or the hub is
// closed. p is valid until the next call. Members take turns: one that sends much
// does not delay others, and what one sends waits within Endpoint.Window of its
// own.
//
// An error with from set is of that member alone: a [*endpoint.RestartError], or
// the cause why its endpoint has ended, after which nothing more comes from it
// unless it is added again. Recv can be called again then. If from is zero, the
// error is of Recv itself.
//
// With a [Config.Journal], calling Recv says that the application has dealt with
// what it has returned last, as [endpoint.Endpoint.Ack] of that member's endpoint
// does: until then it comes again should the process end.
func (h *Hub) Recv(ctx context.Context) (from identity.NodeID, p []byte, err error) {
	i := &h.in
	if i.last != nil {
		i.last.ep.Ack()
		i.last = nil
	}
	for {
		if h.ctx.Err() != nil {
			return identity.NodeID{}, nil, errClosed
		}
		m := i.now
		if m == nil || m.removed.Load() {
			if m = i.next(); m == nil {
				i.now = nil
				switch h.env.Wait(i.signal, ctx.Done(), h.ctx.Done()) {
				case 1:
					return identity.NodeID{}, nil, context.Cause(ctx)
				case 2:
					return identity.NodeID{}, nil, errClosed
				}
				continue
			}
			i.now, i.left = m, turn
		}
		p, err := m.ep.TryRecv()
		if err == endpoint.ErrEmpty {
			i.now = nil // OnReady tells when there is something again
			continue
		}
		if i.left--; i.left == 0 {
			i.now = nil
			i.add(m)
		}
		if err != nil && !isRestart(err) {
			i.now = nil
			i.gone(m)
			if m.removed.Load() || h.ctx.Err() != nil {
				continue
			}
		}
		i.last = m
		return m.id, p, err
	}
}

// isRestart reports whether an error of a member is no end.
func isRestart(err error) bool {
	var restart *endpoint.RestartError
	return errors.As(err, &restart)
}
