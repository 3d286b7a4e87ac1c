package endpoint

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/durable"
	"github.com/plexus-net/plexus/internal/env"
)

// An Endpoint is one end of a durable channel to a node. Make one with [New].
// Methods may be called from any goroutine, but for Recv, TryRecv and All, which
// one goroutine at a time may call.
type Endpoint struct {
	cfg        Config
	env        env.Env
	self, peer identity.NodeID
	ch         *durable.Channel
	in         inbox
	loose      loose
	panicked   atomic.Bool // a callback has

	mu     sync.Mutex  // guards what follows
	cause  error       // why the endpoint ends
	unhook func() bool // from the context of New
}

// New returns an endpoint of the node self for a channel to peer. It lives until
// Close, until the peer closes it, or until ctx ends.
func New(ctx context.Context, self, peer identity.NodeID, cfg Config) (*Endpoint, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if self == peer {
		return nil, errors.New("endpoint: self and peer are the same node")
	}
	e := &Endpoint{cfg: cfg, env: env.Of(ctx), self: self, peer: peer}
	e.in.signal = make(chan struct{}, 1)
	if cfg.OnReady != nil {
		e.in.onReady = e.ready
	}
	d := durable.Config{
		Env: e.env, Buffer: cfg.Buffer, Window: cfg.Window, MaxMessage: cfg.MaxMessage,
		AckDelay: cfg.AckDelay, Probe: cfg.Probe, Patience: cfg.Patience,
		Deliver: e.deliver, Restarted: e.restarted, Lost: e.lost, Ended: e.ended,
	}
	if cfg.Journal != nil {
		d.Save = e.save
	}
	e.ch = durable.New(d)
	if cfg.Journal != nil {
		if err := e.restore(); err != nil {
			e.ch.End(err)
			return nil, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unhook = e.env.OnDone(ctx, func() {
		e.ch.Keep()
		e.end(context.Cause(ctx))
	})
	return e, nil
}

// deliver takes in a message.
func (e *Endpoint) deliver(p []byte, urgent bool) (held bool) {
	if e.cfg.Receive != nil {
		defer e.caught("Receive")
		e.cfg.Receive(p)
		return false
	}
	e.in.put(p, urgent)
	return true
}

func (e *Endpoint) ready() {
	defer e.caught("OnReady")
	e.cfg.OnReady()
}

func (e *Endpoint) restarted(unknown [][]byte) {
	e.loose.restart()
	if e.cfg.OnRestart != nil {
		defer e.caught("OnRestart")
		e.cfg.OnRestart(unknown)
		if len(unknown) > 0 {
			e.ch.Reported() // not if it panicked
		}
		return
	}
	e.in.putRestart(unknown)
}

func (e *Endpoint) lost(err error) {
	if e.cfg.OnDisconnect != nil {
		defer e.caught("OnDisconnect")
		e.cfg.OnDisconnect(err)
	}
}

// ended is called when the peer has closed the channel, with the reason that it
// gives, or when it knows that this end has.
func (e *Endpoint) ended(reason []byte) {
	if reason != nil {
		e.setCause(parseReason(reason))
	}
	e.over()
}

// over lets go of what a living endpoint needs.
func (e *Endpoint) over() {
	e.mu.Lock()
	unhook := e.unhook
	e.mu.Unlock()
	if unhook != nil { // nil in New
		unhook()
	}
	e.in.wake()
}

// setCause keeps the first cause.
func (e *Endpoint) setCause(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cause == nil {
		e.cause = cause
	}
}

// end ends the endpoint at once.
func (e *Endpoint) end(cause error) {
	e.setCause(cause)
	e.ch.End(cause)
	e.over()
}

// Peer returns the ID of the node at the other end.
func (e *Endpoint) Peer() identity.NodeID { return e.peer }

// Send takes in a copy of p to be sent, and waits for room in the buffer until
// ctx ends. That it returns nil means that p will arrive, unless the peer starts
// anew or the endpoint is closed; [Endpoint.Deliver] waits for more. Where there is
// a [Config.Journal] p is in it then, and if the endpoint ends meanwhile, it may be.
func (e *Endpoint) Send(ctx context.Context, p []byte) error {
	return e.why(e.ch.Send(ctx, p, false), p)
}

// TrySend is Send that does not wait: it fails with [ErrFull] where there is no
// room.
func (e *Endpoint) TrySend(p []byte) error {
	return e.why(e.ch.TrySend(p, false), p)
}

// Deliver sends p and waits until the peer has taken it, or ctx ends; then it may
// still be delivered. The error is [ErrUnknownFate] if the peer has started anew
// when p was under way to it: p is then one of the messages of the RestartError.
func (e *Endpoint) Deliver(ctx context.Context, p []byte) error {
	return e.why(e.ch.Deliver(ctx, p), p)
}

// Flush waits until the peer has taken all that was sent, or ctx ends.
func (e *Endpoint) Flush(ctx context.Context) error {
	number, peer := e.ch.Last()
	return e.why(e.ch.Await(ctx, number, peer), nil)
}

// why puts errors into the terms of this package.
func (e *Endpoint) why(err error, p []byte) error {
	switch {
	case err == nil, err == durable.ErrFull:
		return err
	case err == durable.ErrTooLarge:
		return fmt.Errorf("%w: %d bytes, the limit is %d (Config.MaxMessage)", err, len(p), e.cfg.MaxMessage)
	case err == durable.ErrRestarted:
		return ErrUnknownFate
	}
	if e.ch.Closing() {
		return e.Cause()
	}
	return err
}

// Close ends the channel in good order, at both ends: nothing more can be sent,
// what was sent before arrives, and then the peer is told the cause, or the first
// 256 bytes of its text, what is not printable ASCII as question marks. Close waits
// for that until ctx ends, and then ends the endpoint at once; it returns nil if
// the peer's endpoint has got everything, else [Endpoint.Unacknowledged] has what
// it may not have got. Whether its application takes it is no longer told. If the
// peer starts anew meanwhile, what it had not got is reported as messages of
// unknown fate, and the error is [ErrUnknownFate].
func (e *Endpoint) Close(ctx context.Context, cause error) error {
	if cause == nil {
		cause = conn.ErrClosed
	}
	e.setCause(cause)
	e.ch.Finish(reasonOf(cause))
	over := e.env.Wait(e.ch.Done(), ctx.Done(), nil) == 0
	switch {
	case !over:
		e.end(cause)
		cause = context.Cause(ctx)
	case e.ch.Finished():
		return nil
	case e.ch.Err() == durable.ErrRestarted:
		cause = ErrUnknownFate
	default: // ended before, or by the peer meanwhile
		cause = e.Cause()
	}
	return fmt.Errorf("endpoint: closed before the peer had got everything: %w", cause)
}

// Unacknowledged returns, once the endpoint has ended ([Endpoint.Done]), copies of
// the messages that the peer is not known to have taken, in the order sent. Those
// of a RestartError are not among them. It returns nil before.
func (e *Endpoint) Unacknowledged() [][]byte { return e.ch.Rest() }

// Done returns a channel that is closed when the endpoint has ended.
func (e *Endpoint) Done() <-chan struct{} { return e.ch.Done() }

// Cause returns why the endpoint has ended or is about to, or nil: what it was
// closed with, here or by the peer ([*conn.CloseError]).
func (e *Endpoint) Cause() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cause
}

// Conn returns the connection that the endpoint is on, or nil. It must not be
// read, written or closed; [Endpoint.Disconnect] closes it.
func (e *Endpoint) Conn() conn.Conn {
	c, _ := e.ch.On().(conn.Conn)
	return c
}

// Disconnect closes the connection that the endpoint is on, if there is one. The
// channel lives on.
func (e *Endpoint) Disconnect(cause error) { e.ch.Detach(cause) }

// Stats returns what the endpoint has counted.
func (e *Endpoint) Stats() Stats {
	c := e.ch.Counts()
	s := Stats{
		Sent: c.Sent, Received: c.Received, BytesSent: c.BytesSent, BytesReceived: c.BytesReceived,
		Resent: c.Resent, BytesResent: c.ResentBytes, Repeated: c.Repeated,
		Connections: c.Carriers, Silences: c.Silences, Restarts: c.Restarts, Unknown: c.Unknown,
		Waiting: c.Waiting, BytesWaiting: c.WaitingBytes, Untaken: c.Held,
	}
	e.loose.stats(&s)
	return s
}

// Stats counts what an endpoint has done. But for those of this moment, counters
// only grow.
type Stats struct {
	Sent, Received           uint64 // messages; those sent again are counted once
	BytesSent, BytesReceived uint64 // of messages
	Resent, BytesResent      uint64 // messages sent again, because a connection ended
	Repeated                 uint64 // messages that arrived again, and were dropped
	Connections              uint64 // that the endpoint has been on
	Silences                 uint64 // connections given up because nothing came any more
	Restarts                 uint64 // of the peer
	Unknown                  uint64 // messages of unknown fate
	Waiting, BytesWaiting    int    // at this moment: sent, and not known to be taken
	Untaken                  int    // at this moment: received, and not taken by Recv

	DatagramsSent, DatagramsReceived uint64
	DatagramsMissed                  uint64 // gaps in the numbers of those that came
	DatagramsLate                    uint64 // overtaken or repeated, and dropped
}
