package raw

import (
	"errors"
	"sync/atomic"
	"time"
)

// Stats counts what a connection has carried, or all connections of a node.
// Counters only grow.
type Stats struct {
	// MessagesSent and BytesSent are what the stream has taken; bytes are those
	// that the encoder made.
	MessagesSent, BytesSent uint64
	// MessagesReceived are those that OnMessage was called with, or that were
	// decoded if there is none; BytesReceived are those read from the stream.
	MessagesReceived, BytesReceived uint64
	// Dropped are messages that were decoded and never reached OnMessage, by
	// Config.Inbound or because the connection ended.
	Dropped uint64
}

func (s *Stats) add(o Stats) {
	s.MessagesSent += o.MessagesSent
	s.BytesSent += o.BytesSent
	s.MessagesReceived += o.MessagesReceived
	s.BytesReceived += o.BytesReceived
	s.Dropped += o.Dropped
}

// NodeStats is what a node has seen since New. Counters only grow, but for Left.
type NodeStats struct {
	Stats   // of all connections, ended ones included
	Started time.Time
	Opened  uint64 // connections that were there: their handshake had succeeded
	// Accepted are those of Opened that came in; the others were dialled.
	Accepted uint64

	RefusedConns   uint64 // by MaxConns, in either direction
	RefusedPrefix  uint64 // by MaxPerPrefix
	RefusedPending uint64 // by MaxPending, those included that gave way, or waited when the listener closed
	AcceptErrors   uint64

	// Dialling and handshakes that failed, those cancelled included; panics,
	// limits and time-outs apart.
	ConnectErrors, HandshakeErrors     uint64
	ConnectTimeouts, HandshakeTimeouts uint64

	IdleTimeouts  uint64
	WriteTimeouts uint64
	DecodeErrors  uint64
	Panics        uint64 // of callbacks
	HookTimeouts  uint64 // callbacks that were left behind
	Left          int    // of these, those that have not returned yet

	Ended map[Origin]uint64 // connections that ended, or are about to, by origin
}

// counters are the counters of a node. All are of their own: no lock.
type counters struct {
	opened, accepted                            atomic.Uint64
	refusedConns, refusedPrefix, refusedPending atomic.Uint64
	acceptErrors                                atomic.Uint64
	connectErrors, connectTimeouts              atomic.Uint64
	handshakeErrors, handshakeTimeouts          atomic.Uint64
	panics, hookTimeouts                        atomic.Uint64
	left                                        atomic.Int64
	ended                                       [origins]atomic.Uint64
}

// refused counts a connection for which there was no place.
func (c *counters) refused(err error) {
	var l *LimitError
	if !errors.As(err, &l) {
		return
	}
	switch l.Limit {
	case "MaxConns":
		c.refusedConns.Add(1)
	case "MaxPerPrefix":
		c.refusedPrefix.Add(1)
	default:
		c.refusedPending.Add(1)
	}
}

// failed counts an attempt that failed in a phase.
func (c *counters) failed(err error, phase timeoutError) {
	var l *LimitError
	var p *PanicError
	switch {
	case errors.As(err, &p):
		c.panics.Add(1)
	case errors.As(err, &l):
		c.refused(err)
	case err == error(errHandshakeTimeout):
		c.handshakeTimeouts.Add(1)
	case err == error(errConnectTimeout):
		c.connectTimeouts.Add(1)
	case err == ErrShutdown:
	case phase == errHandshakeTimeout:
		c.handshakeErrors.Add(1)
	case phase == errConnectTimeout:
		c.connectErrors.Add(1)
	}
}

// logPanic logs an error that is a panic.
func (n *Node) logPanic(err error) {
	var p *PanicError
	if errors.As(err, &p) {
		n.config.Log.Error("callback panicked", "callback", p.Callback, "panic", p.Value, "stack", string(p.Stack))
	}
}

// Queues are how much waits at this moment on a connection, each bounded by the
// field of [Config] of its name. Beside OutMessages one batch more may be being
// written.
type Queues struct {
	InQueue               int // messages for OnMessage
	OutMessages, OutBytes int
}

func (c *Conn) queues() (q Queues) {
	q.OutMessages, q.OutBytes = c.out.Pending()
	if c.inbox != nil {
		q.InQueue = c.inbox.waiting()
	}
	return q
}

// Stats tells what the connection has carried so far. It works after its end, too.
func (c *Conn) Stats() Stats {
	out := c.out.Stats()
	return Stats{
		MessagesSent: out.Frames, BytesSent: out.Bytes,
		MessagesReceived: c.received.Load(), BytesReceived: c.bytesIn.Load(), Dropped: c.dropped.Load(),
	}
}

// Stats tells what the node has seen. It looks at every connection.
func (n *Node) Stats() NodeStats {
	c := &n.counts
	s := NodeStats{
		Started: n.started, Opened: c.opened.Load(), Accepted: c.accepted.Load(),
		RefusedConns: c.refusedConns.Load(), RefusedPrefix: c.refusedPrefix.Load(), RefusedPending: c.refusedPending.Load(),
		AcceptErrors: c.acceptErrors.Load(), ConnectErrors: c.connectErrors.Load(), ConnectTimeouts: c.connectTimeouts.Load(),
		HandshakeErrors: c.handshakeErrors.Load(), HandshakeTimeouts: c.handshakeTimeouts.Load(),
		IdleTimeouts: c.ended[Idle].Load(), WriteTimeouts: c.ended[WriteTimeout].Load(), DecodeErrors: c.ended[Decode].Load(),
		Panics: c.panics.Load(), HookTimeouts: c.hookTimeouts.Load(), Left: int(c.left.Load()),
		Ended: make(map[Origin]uint64),
	}
	for o := range origins {
		if k := c.ended[o].Load(); k > 0 {
			s.Ended[o] = k
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Stats = n.past
	for _, c := range n.conns {
		s.Stats.add(c.Stats())
	}
	return s
}
