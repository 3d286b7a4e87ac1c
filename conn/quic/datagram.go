package quic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	quic "github.com/quic-go/quic-go"
)

// datagrams are those that wait for quic-go to take them: it lets senders wait
// while 32 are queued, and senders may be callbacks. A goroutine hands them
// over while there are some.
type datagrams struct {
	mu      sync.Mutex // guards the rest
	waiting [][]byte
	running bool
}

// maxWaiting is how many datagrams wait. The oldest make room for newer ones.
const maxWaiting = 128

// tooLarge is larger than any datagram: quic-go answers with the limit.
var tooLarge [64 << 10]byte

// MaxDatagram returns what fits into one packet now; it grows as the path is
// explored. Zero: the connection has ended or carries none.
func (c *connection) MaxDatagram() int {
	var limit *quic.DatagramTooLargeError
	if c.carries && errors.As(c.quic.SendDatagram(tooLarge[:]), &limit) {
		return int(limit.MaxDatagramPayloadSize)
	}
	return 0
}

// SendDatagram queues a copy of p and does not wait: while more than 128 are
// not sent, the oldest are lost.
func (c *connection) SendDatagram(p []byte) error {
	if err := c.quic.Context().Err(); err != nil {
		return c.why(context.Cause(c.quic.Context()))
	}
	if !c.carries {
		return fmt.Errorf("quic: the other end takes no datagrams: %w", errors.ErrUnsupported)
	}
	if most := c.MaxDatagram(); len(p) > most {
		return fmt.Errorf("quic: datagram has %d bytes, at most %d fit", len(p), most)
	}
	q := &c.outgoing
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == maxWaiting {
		q.waiting = slices.Delete(q.waiting, 0, 1)
	}
	q.waiting = append(q.waiting, slices.Clone(p))
	if !q.running {
		q.running = true
		go c.sendDatagrams()
	}
	return nil
}

// sendDatagrams hands over what waits. It ends with the connection, at the
// latest.
func (c *connection) sendDatagrams() {
	q := &c.outgoing
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.running, q.waiting = false, nil
			q.mu.Unlock()
			return
		}
		p := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		_ = c.quic.SendDatagram(p) // what does not fit any more is lost, as is what comes after the end
	}
}

// ReceiveDatagram waits for the next datagram. Where 128 wait, newer ones are
// lost.
func (c *connection) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	p, err := c.quic.ReceiveDatagram(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return p, c.why(err)
}
