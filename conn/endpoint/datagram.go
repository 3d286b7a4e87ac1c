package endpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/plexus-net/plexus/conn"
)

// A loose counts datagrams.
type loose struct {
	mu           sync.Mutex // guards the rest
	lives        int        // of the peer, after the first
	sent, last   uint64     // numbers: of the last that was sent, and that came
	got          uint64
	missed, late uint64
}

func (l *loose) restart() {
	l.mu.Lock()
	l.last = 0
	l.lives++
	l.mu.Unlock()
}

// life returns which life of the peer this is.
func (l *loose) life() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lives
}

func (l *loose) stats(s *Stats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.DatagramsSent, s.DatagramsReceived = l.sent, l.got
	s.DatagramsMissed, s.DatagramsLate = l.missed, l.late
}

// arrived notes a datagram of a life of the peer, and reports whether it comes
// in its order.
func (l *loose) arrived(life int, number uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if life != l.lives || number <= l.last {
		l.late++
		return false
	}
	l.missed += number - l.last - 1
	l.last = number
	l.got++
	return true
}

const datagramHeader = 8

// SendDatagram sends a copy of p on the present connection, once: it may be lost,
// but what arrives is in the order sent. It fails with errors.ErrUnsupported
// where the connection carries no datagrams, and at once if there is none.
func (e *Endpoint) SendDatagram(p []byte) error {
	c := e.Conn()
	if c == nil {
		return fmt.Errorf("endpoint: datagram: there is no connection at the moment: %w", conn.CodeUnreachable)
	}
	dc, ok := c.(conn.DatagramConn)
	if !ok || !c.Features().Datagrams {
		return fmt.Errorf("endpoint: the connection carries no datagrams: %w", errors.ErrUnsupported)
	}
	if most := dc.MaxDatagram() - datagramHeader; len(p) > most {
		return fmt.Errorf("%w: datagram of %d bytes, the connection takes %d", ErrTooLarge, len(p), most)
	}
	e.loose.mu.Lock()
	e.loose.sent++
	number := e.loose.sent
	e.loose.mu.Unlock()
	return dc.SendDatagram(append(binary.BigEndian.AppendUint64(nil, number), p...))
}

func (e *Endpoint) datagram(p []byte) {
	defer e.caught("OnDatagram")
	e.cfg.OnDatagram(p)
}

// receiveDatagrams listens for those of a connection, if anybody wants them.
func (e *Endpoint) receiveDatagrams(c conn.Conn) {
	dc, ok := c.(conn.DatagramConn)
	if !ok || e.cfg.OnDatagram == nil || !c.Features().Datagrams {
		return
	}
	life := e.loose.life()
	e.env.Go(func() {
		for {
			p, err := dc.ReceiveDatagram(context.Background()) // until c is closed
			if err != nil {
				return
			}
			if len(p) >= datagramHeader && e.loose.arrived(life, binary.BigEndian.Uint64(p)) {
				e.datagram(p[datagramHeader:])
			}
		}
	})
}
