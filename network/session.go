package network

import (
	"errors"
	"sync"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/durable"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/wire"
)

// Sizes and times of the durable channels beneath links. What services may have
// under way is bounded by their windows, above.
const (
	sessionBuffer = 4 << 20
	sessionWindow = 1 << 20
	maxPiece      = 64 << 10 // of a batch that becomes one message of a channel, but for longer frames
	maxFrame      = maxMessage + 1<<10
	ackDelay      = 20 * time.Millisecond
	probeTime     = 5 * time.Second
	patience      = 2 * time.Second
)

// A session is what a link with Config.Durable reads and writes in place of a
// connection: a channel that outlives those that carry it. It implements
// [conn.Conn] and [env.Feeder], as far as links use it.
type session struct {
	n     *Node
	node  identity.NodeID
	ch    *durable.Channel
	link  *link         // set by addLink
	begun chan struct{} // closed when feed is set

	mu    sync.Mutex                // guards what follows
	feed  func(p []byte, err error) // does not change once begun is closed
	on    conn.Conn                 // the connection in use, or the last one
	rest  []byte                    // of the present Write: what the channel has not taken in
	left  [][]byte                  // whole frames that are not known to have arrived; set by Close
	over  bool                      // Close was called, with cause
	cause error
	hear  bool // for datagrams
}

var (
	_ conn.Conn  = (*session)(nil)
	_ env.Feeder = (*session)(nil)
)

// newSession returns a session that is on no connection.
func (n *Node) newSession(node identity.NodeID) *session {
	s := &session{n: n, node: node, begun: make(chan struct{})}
	s.ch = durable.New(durable.Config{
		Env: n.env, Buffer: sessionBuffer, Window: sessionWindow, MaxSend: maxFrame,
		MaxMessage: max(maxPiece, n.cfg.Limits.Message+wire.RoutedHeader+wire.PrefixSize+1<<10, wire.MaxHello+wire.PrefixSize),
		AckDelay:   ackDelay, Probe: probeTime, Patience: patience,
		Deliver: func(p []byte, _ bool) bool { s.feed(p, nil); return false },
		Lost:    s.lost,
		Ended: func([]byte) {
			s.Close(&conn.CloseError{Code: conn.CodeProtocol, Reason: "the channel was closed under the link"})
		},
	})
	return s
}

// match returns the session that both ends offer to go on with, if there is one.
func match(mine []kept, theirs []durable.Offer) (*session, durable.Offer) {
	for _, k := range mine {
		if k.opening {
			continue
		}
		for _, o := range theirs {
			if o.Window > 0 && k.session.knows(o) {
				return k.session, o
			}
		}
	}
	return nil, durable.Offer{}
}

// knows reports whether an offer of the other end is for this session.
func (s *session) knows(o durable.Offer) bool {
	return o.Peer == s.ch.Epoch() && o.Epoch == s.ch.Peer()
}

// offer returns what this end offers for a session that it has, or may have: one
// that is still opening is only mentioned, by a window of 0.
func (k kept) offer() durable.Offer {
	o := k.session.ch.Offer()
	if k.opening {
		o.Window = 0
	}
	return o
}

// progress grows with every message that comes, or is known to have arrived.
func (s *session) progress() uint64 {
	c := s.ch.Counts()
	return c.Received + c.Sent - uint64(c.Waiting) - c.Unknown
}

// attach moves the session to a connection.
func (s *session) attach(o *candidate) error {
	if err := s.ch.Attach(o.c, o.theirs, o.number, o.in.rest()); err != nil {
		return err
	}
	s.mu.Lock()
	on := s.ch.On()
	newest := on == nil || on == durable.Carrier(o.c) // else another was faster
	if newest {
		s.on = o.c
	}
	hear := s.hear && newest
	s.mu.Unlock()
	if hear {
		s.link.listen(o.c)
	}
	s.link.renewed(o)
	return nil
}

// lost is called when a connection has broken and no other has taken its place.
func (s *session) lost(err error) {
	if errors.Is(err, durable.ErrProtocol) {
		s.link.abort(&conn.CloseError{Code: conn.CodeProtocol, Reason: err.Error(), Err: err})
		return
	}
	s.link.suspend(err)
}

// Feed has f called with what arrives.
func (s *session) Feed(f func(p []byte, err error)) {
	s.mu.Lock()
	s.feed = f
	over := s.over
	s.mu.Unlock()
	close(s.begun)
	if over {
		s.tellEnd(f)
	}
}

// Read is never called: a session feeds its link.
func (s *session) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Write hands whole frames to the channel, and waits for room.
func (s *session) Write(p []byte) (int, error) {
	rest := p
	for len(rest) > 0 {
		s.mu.Lock()
		s.rest = rest
		write, err := s.ch.Put(rest[:piece(rest)])
		if err == nil {
			rest = rest[piece(rest):]
			s.rest = rest
		}
		s.mu.Unlock()
		switch {
		case write:
			s.ch.Write()
		case err == durable.ErrFull:
			err = s.ch.Room(s.link.ctx)
		}
		if err != nil {
			return len(p) - len(rest), err
		}
	}
	return len(p), nil
}

// piece returns how much of p goes into the next message: whole frames.
func piece(p []byte) (n int) {
	if len(p) <= maxPiece {
		return len(p)
	}
	for n < len(p) {
		_, size := wire.Prefix(p[n:])
		if size += wire.PrefixSize; n > 0 && n+size > maxPiece {
			break
		} else {
			n += size
		}
	}
	return n
}

// Close ends the session and keeps what is not known to have arrived. Its link is
// told, when it has begun to listen.
func (s *session) Close(cause error) error {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return nil
	}
	s.over, s.cause = true, cause
	s.left = s.ch.Drop(cause)
	if len(s.rest) > 0 {
		s.left = append(s.left, append([]byte(nil), s.rest...))
	}
	f := s.feed
	s.mu.Unlock()
	if f != nil { // else Feed sees to it
		s.tellEnd(f)
	}
	return nil
}

// tellEnd tells the link of the end once nothing more can come in.
func (s *session) tellEnd(f func(p []byte, err error)) {
	s.n.env.Go(func() { s.ch.Alone(func() { f(nil, s.cause) }) })
}

// present returns the connection in use, or the last one.
func (s *session) present() conn.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on
}

func (s *session) Node() identity.NodeID            { return s.node }
func (s *session) LocalAddr() identity.Address      { return s.present().LocalAddr() }
func (s *session) RemoteAddr() identity.Address     { return s.present().RemoteAddr() }
func (s *session) SetReadDeadline(time.Time) error  { return nil }
func (s *session) SetWriteDeadline(time.Time) error { return nil }
func (s *session) Stats() conn.TransportStats       { return s.present().Stats() }
func (s *session) Features() conn.Features          { return s.present().Features() }

// inUse returns the connection in use, or nil.
func (s *session) inUse() conn.Conn {
	c, _ := s.ch.On().(conn.Conn)
	return c
}

// listen has datagrams received, of the connection in use and of those that take
// its place.
func (s *session) listen() {
	s.mu.Lock()
	s.hear = true
	on := s.on
	s.mu.Unlock()
	s.link.listen(on)
}

// unacknowledged returns the messages of this node that are not known to have
// arrived, by the service that has sent them.
func (s *session) unacknowledged(pending []byte) map[identity.ServiceID][]conn.Message {
	s.mu.Lock()
	left := append(s.left, pending)
	s.mu.Unlock()
	by := map[identity.ServiceID][]conn.Message{}
	for _, b := range left {
		for len(b) >= wire.PrefixSize {
			t, n := wire.Prefix(b)
			body := b[wire.PrefixSize : wire.PrefixSize+n]
			b = b[wire.PrefixSize+n:]
			if m, ok := s.messageOf(t, body); ok {
				by[m.FromService] = append(by[m.FromService], m)
			}
		}
	}
	return by
}

// messageOf reads a frame that this node has written.
func (s *session) messageOf(t wire.Type, body []byte) (m conn.Message, ok bool) {
	m.From, m.Conn = s.n.self, s.link.id
	switch t {
	case wire.TypeDirect:
		id, kind, payload, err := wire.Direct(body)
		m.Service, m.FromService, m.Kind, m.Payload = id, id, kind, payload
		return m, err == nil
	case wire.TypePeer:
		h, payload, err := wire.ParsePeer(body)
		m.Service, m.FromService, m.Kind, m.Payload = h.Service, h.From, h.Kind, payload
		return m, err == nil
	case wire.TypeRouted:
		h, payload, err := wire.ParseRouted(body)
		m.Service, m.FromService, m.Kind, m.Payload = h.Service, h.From, h.Kind, payload
		return m, err == nil && h.Origin == s.n.self
	}
	return m, false
}

// unsure returns the cause of a link's end for a service: with the messages that
// it has sent and that are not known to have arrived.
func unsure(cause error, messages []conn.Message) error {
	if len(messages) == 0 {
		return cause
	}
	ce := conn.CloseError{Code: conn.CodeUnreachable, Err: cause}
	var known *conn.CloseError
	if errors.As(cause, &known) {
		ce = *known
	}
	ce.Unacknowledged = messages
	return &ce
}
