// Package agent is how behaviours and handlers act on the world: send, dial,
// close, set timers, post events to each other, tell the time and draw random
// numbers.
//
// A behaviour is handed a [*Behavior] in each of its callbacks, a handler a
// [*Handler]. Both may be kept and used from any goroutine. A call enqueues
// and returns; it never runs a callback itself, and where something cannot be
// done it says so at once with an error that can be branched on:
//
//	switch err := a.Send(router.ToNode(id), kindPing, nil); {
//	case errors.Is(err, agent.ErrNoRoute):   // nobody knows the way
//	case errors.Is(err, agent.ErrQueueFull): // the receiver is slow: try later, or use SendWait
//	}
//
// Take time and randomness from the agent, never from the packages time and
// rand: that is what lets a simulator run the same code.
//
// Agents are structs over a small [Backend]. The runtime in package network is
// one; package agenttest has another, that records, so that a behaviour can be
// tested without a network.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/router"
)

// What cannot be done is one of these errors, perhaps wrapped.
var (
	// ErrNoRoute: the router table knows no way, or the route is malformed.
	ErrNoRoute = errors.New("agent: no route")
	// ErrNoConn: the connection is gone, or was never there.
	ErrNoConn = errors.New("agent: no such connection")
	// ErrNoService: the other node does not have the service, or no node does.
	ErrNoService = errors.New("agent: no such service")
	// ErrNoHandler: the event is for a handler, and the connection has none.
	ErrNoHandler = errors.New("agent: no handler on this connection")
	// ErrQueueFull: the receiver does not keep up. Nothing was queued.
	ErrQueueFull = errors.New("agent: queue full")
	// ErrTooLarge: the payload exceeds the limit of this node or the other.
	ErrTooLarge = errors.New("agent: message too large")
	// ErrStopped: the node or the behaviour has stopped.
	ErrStopped = errors.New("agent: stopped")
	// ErrConnected: a dial of a node to which there is a connection already.
	ErrConnected = errors.New("agent: already connected")
	// ErrSelf: a dial of this node itself.
	ErrSelf = errors.New("agent: a node does not dial itself")
)

// An Outgoing is a message on its way out. To, Kind and Payload suffice.
type Outgoing struct {
	To      router.Route
	Kind    conn.Kind
	Payload []byte // copied before Send returns

	// ID comes back with the report that Report asks for. The sender chooses.
	ID uint64
	// Report asks for a report if the message is not delivered by a node on
	// the way: see behavior.Reporter. Messages to a connection are not
	// reported on: they arrive, or the connection ends.
	Report bool
	// ToBehavior skips the handler at the other end of a ToConn route.
	ToBehavior bool
	// Unreliable lets a message to a connection be lost, repeated or
	// overtaken, if the connection has datagrams and it fits in one. On a
	// durable connection it is never repeated, and dropped while nothing
	// carries that.
	Unreliable bool
}

// A Report says that a message which asked for reports was not delivered.
type Report struct {
	ID      uint64
	Kind    conn.Kind
	To      identity.ServiceID
	From    identity.NodeID // the node that could not deliver it
	Failure error           // ErrNoRoute, ErrNoService, ErrQueueFull or ErrTooLarge
}

// An OpCode names what an [Op] asks for.
type OpCode uint8

// The operations, with the fields of [Op] that each uses.
const (
	OpNotify    OpCode = iota + 1 // give Event to the handler on Conn
	OpTell                        // give Event to the behaviour; fails where its queue is full
	OpPost                        // give Event to the behaviour; waits while its queue is full, until Context ends
	OpDo                          // run Func on the behaviour's turn and wait for it, until Context ends
	OpAfter                       // give Event to the asker after Delay
	OpCancel                      // forget the timer with the ID that OpAfter was given
	OpDial                        // connect to Peer
	OpClose                       // end Conn because of Cause
	OpAuthorize                   // let Conn be written to
)

// An Op is one thing that an agent asks of its backend, other than sending. It
// is data, so that tests can record and compare it.
type Op struct {
	Code    OpCode
	Conn    identity.ConnID
	Event   any
	Delay   time.Duration
	ID      uint64
	Peer    identity.PeerAddress
	Cause   error
	Func    func()
	Context context.Context
}

// A Backend does what an agent asks for. Each agent has a backend of its own,
// which knows for whom it acts. Methods may be called from any goroutine.
type Backend interface {
	// Send queues a message. It keeps no reference to the payload.
	Send(o Outgoing) error
	// Do carries out an operation.
	Do(op Op) error
	// Ready returns a channel that is closed when a Send that failed with
	// ErrQueueFull is worth another try.
	Ready(to router.Route) <-chan struct{}
	// Conns returns the open connections whose node has the service and that
	// may be written to, as a slice that is the caller's.
	Conns() []conn.Info
	// Stats returns the statistics of a connection.
	Stats(id identity.ConnID) (conn.Stats, bool)
}

// An Env is what an agent is made of. Backends fill it in.
type Env struct {
	Self    identity.NodeID
	Service identity.ServiceID
	Clock   interface{ Now() time.Time }
	Source  rand.Source     // safe for concurrent use
	Log     *slog.Logger    // never nil
	Context context.Context // ends when the behaviour stops, or the connection closes
	Backend Backend
}

// common is what both agents can do.
type common struct {
	env  Env
	rand *rand.Rand
}

// Self returns the ID of this node.
func (a *common) Self() identity.NodeID { return a.env.Self }

// Service returns the ID that the behaviour is registered under.
func (a *common) Service() identity.ServiceID { return a.env.Service }

// Now tells the time.
func (a *common) Now() time.Time { return a.env.Clock.Now() }

// Rand returns a source of random numbers that is safe for concurrent use. It
// is not for secrets.
func (a *common) Rand() *rand.Rand { return a.rand }

// Log returns a logger that names the node, the service and, for handlers, the
// connection.
func (a *common) Log() *slog.Logger { return a.env.Log }

// Context returns a context that ends when the behaviour stops or, for a
// handler, when the connection closes; context.Cause tells why.
func (a *common) Context() context.Context { return a.env.Context }

// Send queues a message of this service. It copies payload, allocates nothing
// and never blocks.
func (a *common) Send(to router.Route, kind conn.Kind, payload []byte) error {
	return a.env.Backend.Send(Outgoing{To: to, Kind: kind, Payload: payload})
}

// SendMessage queues a message with all that can be said of it.
func (a *common) SendMessage(o Outgoing) error { return a.env.Backend.Send(o) }

// SendWait is Send that waits while the receiver does not keep up, until ctx
// ends. It must not be called from a callback.
func (a *common) SendWait(ctx context.Context, to router.Route, kind conn.Kind, payload []byte) error {
	return a.SendMessageWait(ctx, Outgoing{To: to, Kind: kind, Payload: payload})
}

// SendMessageWait is SendMessage that waits as SendWait does.
func (a *common) SendMessageWait(ctx context.Context, o Outgoing) error {
	for {
		ready := a.env.Backend.Ready(o.To)
		err := a.SendMessage(o)
		if !errors.Is(err, ErrQueueFull) {
			return err
		}
		if env.Of(a.env.Context).Wait(ready, ctx.Done(), nil) == 1 {
			return context.Cause(ctx)
		}
	}
}

// Notify gives ev to the handler of this service on a connection, which
// receives it in OnEvent.
func (a *common) Notify(id identity.ConnID, ev any) error {
	return a.env.Backend.Do(Op{Code: OpNotify, Conn: id, Event: ev})
}

// close is Close of both agents.
func (a *common) close(id identity.ConnID, cause error) error {
	return a.env.Backend.Do(Op{Code: OpClose, Conn: id, Cause: cause})
}

// A Timer is what After returns.
type Timer struct {
	backend Backend
	id      uint64
}

// Stop forgets the timer. An event that is already queued still arrives.
func (t Timer) Stop() {
	if t.backend != nil {
		_ = t.backend.Do(Op{Code: OpCancel, ID: t.id}) // a timer that is gone needs no stopping
	}
}

// After gives ev to OnEvent of the caller, behaviour or handler, after d.
// Timers end with the behaviour or connection.
func (a *common) After(d time.Duration, ev any) Timer {
	id := a.rand.Uint64()
	if a.env.Backend.Do(Op{Code: OpAfter, Delay: d, Event: ev, ID: id}) != nil {
		return Timer{}
	}
	return Timer{a.env.Backend, id}
}
