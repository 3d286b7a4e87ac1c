package network

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/wire"
)

// datagramNumber is how many bytes the number of a datagram takes, which those of
// durable connections begin with. They are counted through all connections that
// carry a link, so that what comes late on one that it has left can be told.
const datagramNumber = 8

// sendDatagram sends a message as a datagram, if the connection can. A durable
// link has it go by the connection in use, once; while there is none it is dropped.
func (l *link) sendDatagram(sl *slot, o *agent.Outgoing) (sent bool, err error) {
	c, number := l.c, 0
	if l.session != nil {
		c, number = l.session.inUse(), datagramNumber
	}
	dc, ok := c.(conn.DatagramConn)
	switch {
	case c == nil && len(o.Payload) <= l.peerMessage:
	case !ok || !c.Features().Datagrams || number+wire.DirectHeader+len(o.Payload) > dc.MaxDatagram():
		return false, nil
	}
	l.out.mu.Lock()
	missing := sl.window == 0 || sl.foreign
	l.out.mu.Unlock()
	switch {
	case missing:
		return false, agent.ErrNoService
	case l.readOnly.Load():
		return false, conn.ErrReadOnly
	case l.closing.Load() != nil:
		return false, agent.ErrNoConn
	case c == nil:
		l.n.count.datagramsDropped.Add(1)
		return true, nil
	}
	if l.datagram.CompareAndSwap(false, true) {
		l.out.order(func(b []byte) []byte { return wire.AppendPrefix(b, wire.TypeDatagrams, 0) })
	}
	pad := max(number-wire.PrefixSize, 0) // the number takes the place of the prefix
	b := wire.AppendDirect(make([]byte, pad, pad+wire.PrefixSize+wire.DirectHeader+len(o.Payload)), sl.id, o.Kind, len(o.Payload))
	b = append(b, o.Payload...)
	if l.session == nil {
		return true, dc.SendDatagram(b[wire.PrefixSize:])
	}
	binary.BigEndian.PutUint64(b, l.datagramsOut.Add(1))
	if dc.SendDatagram(b) != nil { // it has broken, or takes less than a moment ago
		l.n.count.datagramsDropped.Add(1)
	}
	return true, nil
}

// receiveDatagrams starts to listen for datagrams, once. Under the turn.
func (l *link) receiveDatagrams() {
	switch {
	case l.datagramsIn:
	case l.session != nil:
		l.session.listen()
	default:
		l.listen(l.c)
	}
	l.datagramsIn = true
}

// listen takes in the datagrams of a connection until it ends.
func (l *link) listen(c conn.Conn) {
	dc, ok := c.(conn.DatagramConn)
	if !ok || !c.Features().Datagrams {
		return
	}
	l.n.goRunning(func() {
		for {
			b, err := dc.ReceiveDatagram(l.ctx)
			if err != nil {
				if l.ctx.Err() == nil && !errors.Is(err, context.Canceled) {
					l.log.Debug("no more datagrams", "err", err)
				}
				return
			}
			l.datagramArrived(b)
		}
	})
}

// datagramArrived delivers a message that came as a datagram, or drops it where
// the queue of its behaviour is full, or a later one of a durable link has come.
func (l *link) datagramArrived(b []byte) {
	l.turn.Lock()
	defer l.turn.Unlock()
	defer l.recoverPanic()
	l.batches.Add(1)
	if l.session != nil {
		if b = l.inOrder(b); b == nil {
			l.n.count.datagramsDropped.Add(1)
			return
		}
	}
	id, kind, payload, err := wire.Direct(b)
	s := l.find(id)
	if err != nil || s == nil || s.svc == nil || l.done || kind >= conn.KindReserved || len(payload) > l.n.cfg.Limits.Message {
		l.n.count.datagramsDropped.Add(1)
		return
	}
	l.received.Add(1)
	if s.state == toHandler {
		l.msg = conn.Message{Service: id, Kind: kind, FromService: id, From: l.node, Conn: l.id, Hops: 1, Payload: payload}
		if l.n.trace != nil {
			l.n.noteMessage(id, &l.msg)
		}
		l.enter(s, nil)
		s.handler.OnMessage(s.agent, &l.msg)
		l.leave()
		l.settle()
		return
	}
	m := conn.Message{Service: id, Kind: kind, FromService: id, From: l.node, Conn: l.id, Hops: 1, Payload: payload}
	if s.svc.accept(&m, l, false) != nil {
		l.n.count.datagramsDropped.Add(1)
	}
}

// inOrder returns what follows the number of a datagram; nil: it has none, or it is
// late. Under the turn.
func (l *link) inOrder(b []byte) []byte {
	if len(b) < datagramNumber {
		return nil
	}
	number := binary.BigEndian.Uint64(b)
	if number <= l.datagramLast {
		return nil
	}
	l.datagramLast = number
	return b[datagramNumber:]
}
