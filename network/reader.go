package network

import (
	"errors"
	"fmt"
	"io"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/frames"
	"github.com/plexus-net/plexus/internal/wire"
)

// readLoop reads until the connection fails.
func (l *link) readLoop() {
	defer l.n.running.done()
	l.parse()
	for {
		n, err := l.c.Read(l.in.Room(l.need))
		if n > 0 {
			l.reads.Add(1)
			l.in.Filled(n)
			l.parse()
		}
		if err != nil {
			l.finish(readError(err))
			return
		}
	}
}

// feed is the reader of a connection that feeds its owner: it is called with
// what has arrived, and once with the end.
func (l *link) feed(p []byte, err error) {
	if err != nil {
		defer l.n.running.done()
		l.finish(readError(err))
		return
	}
	l.reads.Add(1)
	if l.in.Empty() {
		p = p[l.frames(p):] // in place
		l.in = frames.Buffer{}
	}
	for len(p) > 0 {
		n := copy(l.in.Room(l.need), p)
		p = p[n:]
		l.in.Filled(n)
		l.parse()
	}
}

// parse deals with the whole frames in the buffer.
func (l *link) parse() { l.in.Used(l.frames(l.in.Bytes())) }

// frames deals with the whole frames in b and returns how many bytes they are.
// After an error whatever else comes is not looked at: the goodbye leaves, and
// the end comes from the other side or from the grace period.
func (l *link) frames(b []byte) (used int) {
	if len(b) > 0 && !l.deaf {
		var err error
		if used, l.need, err = l.process(b); err != nil {
			l.deaf = true
			l.protocolError(err)
		}
	}
	if l.deaf {
		l.need = 0
		return len(b)
	}
	return used
}

// readError puts a name to the end of a connection that nobody asked for.
func readError(err error) error {
	var ce *conn.CloseError
	if errors.As(err, &ce) {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &conn.CloseError{Code: conn.CodeUnreachable, Reason: "the connection broke", Remote: true, Err: err}
	}
	return &conn.CloseError{Code: conn.CodeUnreachable, Err: err}
}

func (l *link) protocolError(err error) {
	l.n.count.protocolErrors.Add(1)
	l.log.Warn("connection closed: what it brought is not the protocol", "err", err)
	l.close(&conn.CloseError{Code: conn.CodeProtocol, Reason: err.Error(), Err: err})
}

// process deals with the whole frames in b and returns how many bytes they
// are, and how many the next one needs.
func (l *link) process(b []byte) (used, need int, err error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	defer l.recoverPanic()
	l.batches.Add(1)
	limit := l.n.cfg.Limits.Message + wire.RoutedHeader
	messages := uint64(0)
	for len(b)-used >= wire.PrefixSize {
		t, n := wire.Prefix(b[used:])
		if n > limit && n > wire.MaxHello && l.goodbyes > 0 {
			return len(b), 0, nil // the other end has said its last: what follows is noise
		}
		if n > limit && n > wire.MaxHello {
			return used, 0, fmt.Errorf("frame of type %d has %d bytes, the limit is %d (Limits.Message)", t, n, limit)
		}
		if len(b)-used < wire.PrefixSize+n {
			need = wire.PrefixSize + n
			break
		}
		body := b[used+wire.PrefixSize : used+wire.PrefixSize+n]
		used += wire.PrefixSize + n
		if l.goodbyes > 0 && t != wire.TypeGoodbye {
			continue // the other end has said its last
		}
		if t == wire.TypeDirect {
			messages++
			if err = l.direct(body); err != nil {
				break
			}
			continue
		}
		if err = l.frame(t, body); err != nil {
			break
		}
	}
	l.received.Add(messages)
	l.settle()
	l.drainTurn()
	if err == nil && l.out.overrun() {
		err = errors.New("it asks for more answers than it reads")
	}
	return used, need, err
}

// direct deals with a message to the connection. Under the turn.
func (l *link) direct(body []byte) error {
	id, kind, payload, err := wire.Direct(body)
	if err != nil {
		return err
	}
	if len(payload) > l.n.cfg.Limits.Message {
		return l.tooLarge(payload)
	}
	s := l.last
	if s == nil || s.id != id {
		if s = l.find(id); s != nil {
			l.last = s
		}
	}
	if s == nil || s.svc == nil {
		l.refuse(wire.TypeDirect, id, len(payload))
		return nil
	}
	if s.overrun() {
		return fmt.Errorf("service %d was sent more than its window", id)
	}
	s.receive(kind, payload)
	return nil
}

func (l *link) tooLarge(payload []byte) error {
	return fmt.Errorf("message of %d bytes, the limit is %d (Limits.Message)", len(payload), l.n.cfg.Limits.Message)
}

// refuse answers a message for a service that is not here, a few times per
// link: an honest sender heeds the first.
func (l *link) refuse(t wire.Type, id identity.ServiceID, n int) {
	l.n.count.unknownService.Add(1)
	if id != 0 {
		l.out.credit(id, n+overhead)
	}
	l.answerRefused(t, id)
}

func (l *link) answerRefused(t wire.Type, id identity.ServiceID) {
	if l.refused < maxRefused {
		l.refused++
		l.out.order(func(b []byte) []byte { return wire.AppendRefused(b, t, id) })
	}
}

const maxRefused = 100

// frame deals with a frame other than a direct message. Under the turn.
func (l *link) frame(t wire.Type, body []byte) error {
	if l.current.Load() != nil {
		l.current.Store(nil) // the callback before this frame has returned
	}
	switch t {
	case wire.TypePeer:
		return l.peerMessageIn(body)
	case wire.TypeRouted:
		return l.routedIn(body)
	case wire.TypeCredit:
		return l.creditIn(body)
	case wire.TypeReport:
		return l.reportIn(body)
	case wire.TypePing:
		token, err := wire.ParsePing(body)
		if err == nil {
			l.out.order(func(b []byte) []byte { return wire.AppendPing(b, wire.TypePong, token) })
		}
		return err
	case wire.TypePong:
		token, err := wire.ParsePing(body)
		if err == nil {
			l.n.pong(l, token)
		}
		return err
	case wire.TypeServices:
		services, err := wire.ParseServices(body)
		if err != nil {
			return err
		}
		if l.peerServices(services); l.restless() {
			return errors.New("its services change faster than can be followed")
		}
		return nil
	case wire.TypeGoodbye:
		ce, err := wire.ParseGoodbye(body)
		if err != nil {
			return err
		}
		l.farewell(ce)
		return nil
	case wire.TypeRefused:
		_, id, err := wire.ParseRefused(body)
		l.n.count.refused.Add(1)
		l.log.Debug("the other end does not know a service or frame type", "service", id)
		return err
	case wire.TypeDatagrams:
		l.receiveDatagrams()
		return nil
	case wire.TypeHello, wire.TypeReady:
		return fmt.Errorf("frame of type %d after the handshake", t)
	}
	l.n.count.unknownFrame.Add(1)
	l.answerRefused(t, 0)
	return nil
}

const maxGrant = 1 << 30

// creditIn widens a window by what the other end has consumed. Under the turn.
func (l *link) creditIn(body []byte) error {
	id, n, err := wire.ParseCredit(body)
	if err != nil {
		return err
	}
	s := l.routed
	if id != 0 {
		s = l.find(id)
	}
	if s != nil {
		l.out.granted(s, int(min(n, maxGrant)))
	}
	return nil
}

// peerMessageIn deals with a message to the behaviour here. Under the turn.
func (l *link) peerMessageIn(body []byte) error {
	h, payload, err := wire.ParsePeer(body)
	if err != nil {
		return err
	}
	if len(payload) > l.n.cfg.Limits.Message {
		return l.tooLarge(payload)
	}
	l.received.Add(1)
	s := l.find(h.Service)
	if s == nil || s.svc == nil || h.Kind >= conn.KindReserved && len(s.svc.parts) == 0 {
		if h.Flags&wire.FlagReport != 0 {
			l.report(wire.Report{TTL: 1, Code: wire.ReportNoService, To: h.From, Kind: h.Kind, Service: h.Service, ID: h.ID, Target: l.node})
		}
		l.refuse(wire.TypePeer, h.Service, len(payload))
		return nil
	}
	if s.overrun() {
		return fmt.Errorf("service %d was sent more than its window", h.Service)
	}
	s.queue(h.Kind, h.From, payload)
	return nil
}
