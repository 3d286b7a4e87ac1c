//go:build !js

package webtransport

import (
	"context"
	"errors"
	"fmt"

	"github.com/quic-go/quic-go"
)

// datagramHeader is the number of the session, in bytes at most.
const datagramHeader = 8

// tooLarge is larger than any datagram: quic-go answers with the limit.
var tooLarge [64 << 10]byte

// MaxDatagram returns what fits into one packet now; it grows as the path is
// explored. Zero: the connection has ended or carries none.
func (c *connection) MaxDatagram() int {
	var limit *quic.DatagramTooLargeError
	if c.bound && errors.As(c.quic.SendDatagram(tooLarge[:]), &limit) {
		return max(0, int(limit.MaxDatagramPayloadSize)-datagramHeader)
	}
	return 0
}

// SendDatagram queues a copy of p and does not wait: while more than 128 are
// not sent, the oldest are lost.
func (c *connection) SendDatagram(p []byte) error {
	if !c.bound {
		return errUnbound
	}
	if c.quic.Context().Err() != nil {
		return c.why(context.Cause(c.quic.Context()))
	}
	if most := c.MaxDatagram(); len(p) > most {
		return fmt.Errorf("webtransport: datagram has %d bytes, at most %d fit", len(p), most)
	}
	c.outgoing.Put(p, c.Session.SendDatagram)
	return nil
}

// ReceiveDatagram waits for the next datagram. Where 32 wait, newer ones are
// lost.
func (c *connection) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	if !c.bound {
		return nil, errUnbound
	}
	p, err := c.Session.ReceiveDatagram(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return p, c.why(err)
}
