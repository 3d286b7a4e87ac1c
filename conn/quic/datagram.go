package quic

import (
	"context"
	"errors"
	"fmt"

	quic "github.com/quic-go/quic-go"
)

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
	c.outgoing.Put(p, c.quic.SendDatagram)
	return nil
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
