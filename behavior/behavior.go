// Package behavior is what users write: modules that each own one service of a
// node.
//
// One method is required, and a behaviour can do without the rest:
//
//	type Hello struct{ heard []string }
//
//	var Greet = behavior.Message[string](1)
//
//	func (h *Hello) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
//		Greet.Send(a, router.ToConn(c.ID), "hello from "+a.Self().Short())
//		return nil // no handler: messages of this connection come to OnMessage
//	}
//
//	func (h *Hello) OnMessage(a *agent.Behavior, m *conn.Message) {
//		if s, err := Greet.Decode(m); err == nil {
//			h.heard = append(h.heard, s)
//		}
//	}
//
// # Turns
//
// The callbacks of one behaviour never overlap, nor do those of one handler,
// so neither needs a lock. Callbacks must not block: a behaviour that does
// delays its own messages, and its senders, and nobody else.
//
//	            connection's turn                behaviour's turn
//	reader -->  Handler.OnMessage  -- Tell -->  Behavior.OnEvent
//	       \--- no handler ----------------->   Behavior.OnMessage
//	            Handler.OnEvent   <-- Notify --
//
// # Order
//
// Per behaviour and connection: Admit, OnConnect, its messages and events,
// OnDisconnect. OnDisconnect comes exactly once for each OnConnect, after
// everything that the handler told while closing. Messages of one service from
// one sender to one receiver over one connection arrive in the order sent.
//
// # Optional callbacks
//
// They are interfaces of one method each, found once at registration: of a
// behaviour [Describer], [Starter], [Stopper], [Ticker], [Admitter],
// [Connector], [Disconnector], [DialWatcher], [EventReceiver] and [Reporter]; of
// a handler [Opener], [Closer], [HandlerTicker] and [HandlerEventReceiver]. A
// method called On... that is none of them, or has another signature, would
// silently never run: [Check] refuses it at registration.
package behavior

import (
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
)

// A Behavior owns one service of a node.
type Behavior interface {
	// OnMessage is called with each message for this service that no handler
	// takes: those sent to a node, a key or a service, from here or elsewhere,
	// and those sent to a connection that has no handler here.
	OnMessage(a *agent.Behavior, m *conn.Message)
}

// Func is a function that serves as a behaviour.
type Func func(a *agent.Behavior, m *conn.Message)

// OnMessage calls f.
func (f Func) OnMessage(a *agent.Behavior, m *conn.Message) { f(a, m) }

// A Handler is the behaviour's part on one connection. Its callbacks run on the
// connection's turn, without a queue in between: it is the fast way to receive.
type Handler interface {
	// OnMessage is called with each message that the other end of the
	// connection sends to this connection.
	OnMessage(a *agent.Handler, m *conn.Message)
}

// HandlerFunc is a function that serves as a handler.
type HandlerFunc func(a *agent.Handler, m *conn.Message)

// OnMessage calls f.
func (f HandlerFunc) OnMessage(a *agent.Handler, m *conn.Message) { f(a, m) }

// An Info is what a behaviour says of itself.
type Info struct {
	// Name identifies the service between nodes, together with its ID: nodes
	// that give one ID to different names have no service in common. At most
	// 64 bytes. Default: the name of the behaviour's type, such as "chat.Room".
	Name string
	// Version is told to other nodes. plexus does not interpret it.
	Version uint32
	// Tick is the interval of OnTick, of the behaviour and its handlers.
	// Default: none, and OnTick is not called.
	Tick time.Duration
	// MaxQueue bounds the events and local messages that wait for the
	// behaviour. Default 4096. Messages from connections are bounded by
	// their flow-control windows instead.
	MaxQueue int
	// Window is the flow-control window of the service on each connection, in
	// bytes; each message counts its payload and 64 bytes more. Default 1 MiB,
	// or the node's largest message and 64 bytes where that is more; at least
	// that, at most 16 MiB.
	Window int
	// Private hides the service from other nodes: it is not told to them, so
	// they do not route calls of the service here. It can still be sent to by
	// node, which suits the client half of a protocol.
	Private bool
}

// The optional callbacks of a behaviour.
type (
	// A Describer describes its behaviour. Asked once, at registration.
	Describer interface{ Describe() Info }

	// A Starter is told that the node starts, or that the behaviour joins a
	// running node. An error ends what started it.
	Starter interface {
		OnStart(a *agent.Behavior) error
	}

	// A Stopper is told that the node, or just the behaviour, stops. What it
	// sends still leaves.
	Stopper interface{ OnStop(a *agent.Behavior) }

	// A Ticker is called at the interval of [Info]. A tick that finds the
	// behaviour busy is skipped, never piled up.
	Ticker interface {
		OnTick(a *agent.Behavior, now time.Time)
	}

	// An Admitter is asked before a connection opens, incoming or outgoing.
	// Behaviours are asked in the order of their registration; the first
	// error refuses the connection and reaches the peer, in the form of its
	// text. conn.ErrReadOnly admits, but for reading only.
	Admitter interface {
		Admit(a *agent.Behavior, p conn.Peer) error
	}

	// A Connector is told of each opened connection whose node has this
	// service. The handler that it returns, if any, receives what is sent to
	// the connection.
	Connector interface {
		OnConnect(a *agent.Behavior, c conn.Info) Handler
	}

	// A Disconnector is told, once for each OnConnect, that the connection
	// has ended and why. After it nothing of that connection arrives.
	Disconnector interface {
		OnDisconnect(a *agent.Behavior, c conn.Info, cause error)
	}

	// A DialWatcher is told of dials, by any behaviour of the node, that
	// ended without a connection.
	DialWatcher interface {
		OnDialError(a *agent.Behavior, d conn.Dial, err error)
	}

	// An EventReceiver receives events: from its handlers (from is their
	// connection), and from its own timers, Tell and Post (from is zero).
	EventReceiver interface {
		OnEvent(a *agent.Behavior, from conn.Info, ev any)
	}

	// A Reporter is told of messages that asked for reports and could not be
	// delivered.
	Reporter interface {
		OnReport(a *agent.Behavior, r agent.Report)
	}
)

// The optional callbacks of a handler.
type (
	// An Opener is told first, before any message or event.
	Opener interface{ OnOpen(a *agent.Handler) }

	// A Closer is told last, once for each OnOpen. What it tells its
	// behaviour still arrives, before the behaviour's OnDisconnect.
	Closer interface {
		OnClose(a *agent.Handler, cause error)
	}

	// A HandlerTicker is called at the interval of [Info].
	HandlerTicker interface {
		OnTick(a *agent.Handler, now time.Time)
	}

	// A HandlerEventReceiver receives events: from its behaviour (from is
	// zero), from the handler of the same service on another connection (from
	// is that connection), and from its own timers (from is its own).
	HandlerEventReceiver interface {
		OnEvent(a *agent.Handler, from conn.Info, ev any)
	}
)

// An Unwrapper is a behaviour around another. Optional callbacks that the outer
// one lacks are looked for in the inner one.
type Unwrapper interface{ Unwrap() Behavior }

// As returns the first T in the chain of behaviours that Unwrap walks.
func As[T any](b Behavior) (t T, ok bool) {
	for range maxUnwrap {
		if t, ok = b.(T); ok {
			return t, true
		}
		u, wraps := b.(Unwrapper)
		if !wraps {
			break
		}
		b = u.Unwrap()
	}
	return t, false
}

// maxUnwrap ends chains that run in a circle.
const maxUnwrap = 64

// A Part is a reusable piece of a behaviour, such as an rpc.Server or
// rpc.Client, that takes messages of its own before the behaviour sees them.
// Optional callbacks of a part are the interfaces below. Embed one part, and
// its Parts method makes it known; with several, define Parts to return them
// all.
type Part interface {
	// Take reports whether m was for the part, which has then dealt with it.
	// It is called on the goroutine that m arrives on, at the same time as
	// others, and not on the behaviour's turn: it must not block.
	Take(a *agent.Behavior, m *conn.Message) bool
}

// A Parted behaviour has parts.
type Parted interface{ Parts() []Part }

// A PartObserver is a [Part] that watches the life of its behaviour. PartStart is
// called on the behaviour's turn before OnStart, PartStop after OnStop.
// PartDisconnect is called for every connection of the node that ends, and
// PartReport for every report on a message of a reserved kind, both from any
// goroutine, at the same time as others: they must not block.
type PartObserver interface {
	PartStart(a *agent.Behavior)
	PartStop(a *agent.Behavior)
	PartDisconnect(a *agent.Behavior, c conn.Info, cause error)
	PartReport(a *agent.Behavior, r agent.Report)
}
