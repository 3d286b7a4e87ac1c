package raw

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/identity"
)

// A Node accepts and dials connections and runs the protocols of a user on them.
// Make one with [New]; its methods may be called from any goroutine, callbacks
// included.
type Node struct {
	config    Config // with its defaults
	protocols protocols
	limits    *limits
	started   time.Time
	lastID    atomic.Uint64
	counts    counters

	mu       sync.Mutex // guards what follows; never held while calling a user
	closing  bool
	conns    map[identity.ConnID]*Conn
	attempts map[*attempt]struct{}
	targets  map[string]target // addresses connected to, with OnePerAddress
	past     Stats             // of connections that were removed
	listener *listener
	opening  bool   // a Listen is under way
	bound    string // where Listen has listened: it does so again

	makers   sync.WaitGroup // goroutines of attempts; Add under mu
	loops    sync.WaitGroup // of listeners; likewise
	stopping sync.Once
	down     chan struct{} // closed when Shutdown is done
	downErr  error         // set before
}

// New makes a node that runs the protocols that v has: any of [Handshaker],
// [DecoderMaker], [Receiver], [EncoderMaker], [Connector] and [Disconnector]; nil
// has none. It neither listens nor runs anything yet: call [Node.Listen] or
// [Node.Connect]. Errors are those of [Check] and of a Config that makes no
// sense, all of them.
func New(v any, c Config) (*Node, error) {
	config, err := c.withDefaults()
	if err := errors.Join(Check(v), err); err != nil {
		return nil, err
	}
	return &Node{
		config: config, protocols: protocolsOf(v), limits: newLimits(config), started: time.Now(),
		conns: make(map[identity.ConnID]*Conn), attempts: make(map[*attempt]struct{}), targets: make(map[string]target),
		down: make(chan struct{}),
	}, nil
}

// Conn returns a connection, nil if it is not there (any more).
func (n *Node) Conn(id identity.ConnID) *Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conns[id]
}

// Conns iterates over the connections that were there when it was called, in the
// order in which they were made.
func (n *Node) Conns() iter.Seq[*Conn] { return slices.Values(n.list()) }

func (n *Node) list() []*Conn {
	n.mu.Lock()
	all := make([]*Conn, 0, len(n.conns))
	for _, c := range n.conns {
		all = append(all, c)
	}
	n.mu.Unlock()
	slices.SortFunc(all, func(a, b *Conn) int { return int(a.id - b.id) })
	return all
}

// NumConnected is how many connections there are, those that are ending included.
func (n *Node) NumConnected() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

// NumConnecting is how many connections are being made in either direction:
// dialled, or in their handshake.
func (n *Node) NumConnecting() int { return n.limits.numPending() }

// Disconnect ends a connection, as [Conn.Disconnect] does. If there is none of
// that ID (any more), its error wraps [ErrNoConn].
func (n *Node) Disconnect(id identity.ConnID, cause error) error {
	c := n.Conn(id)
	if c == nil {
		return errNoConn(id)
	}
	c.Disconnect(cause)
	return nil
}

// DisconnectAddr ends the connections whose other end has an address, as
// [Conn.Disconnect] does, and tells how many those are.
func (n *Node) DisconnectAddr(addr string, cause error) int {
	ended := 0
	for c := range n.Conns() {
		if c.remote.String() == addr {
			c.Disconnect(cause)
			ended++
		}
	}
	return ended
}

// ErrNoConn is beneath the errors about connections that are not there.
var ErrNoConn = errors.New("raw: no such connection")

func errNoConn(id identity.ConnID) error { return fmt.Errorf("%w: %s", ErrNoConn, id) }

// Broadcast sends a message to all connections as [Conn.Send] does. The result
// has the connections that did not take it; nil means all did.
func (n *Node) Broadcast(msg []byte) map[identity.ConnID]error {
	var failed map[identity.ConnID]error
	for _, c := range n.list() {
		if err := c.Send(msg); err != nil {
			if failed == nil {
				failed = make(map[identity.ConnID]error)
			}
			failed[c.id] = err
		}
	}
	return failed
}

// Shutdown ends the node for good, in this order: nothing is connected or accepted
// any more; the listener closes; connections that are being made are given up; all
// others end with [Shutdown], each on its own, after OnDisconnect and a last
// flush. It is bounded: callbacks that run, OnDisconnect and the flush have
// Config.HookTimeout each, and one that does not return by then is left behind,
// which the error says. Otherwise no goroutine, timer or descriptor is left.
//
// ctx bounds the waiting, not the shutdown, which goes on. It may be called more
// than once, and each call waits. In a callback it waits for that callback, as
// long as HookTimeout allows: start it there with go, or with the ctx of the
// callback, which ends at once.
func (n *Node) Shutdown(ctx context.Context) error {
	n.stopping.Do(func() { go n.shutdown() })
	select {
	case <-n.down:
		return n.downErr
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Done is closed when Shutdown has ended the node.
func (n *Node) Done() <-chan struct{} { return n.down }

func (n *Node) shutdown() {
	defer close(n.down)
	n.mu.Lock()
	n.closing = true
	attempts := make([]*attempt, 0, len(n.attempts))
	for a := range n.attempts {
		attempts = append(attempts, a)
	}
	n.mu.Unlock()

	_ = n.stopListening(0) // its error is of a socket that is gone now
	n.loops.Wait()         // also that of a StopListening under way
	for _, a := range attempts {
		a.fail(ErrShutdown)
	}
	for _, a := range attempts {
		<-a.done // somebody else may be failing it
	}
	all := n.list() // complete: nothing is added once closing is set
	for _, c := range all {
		c.end(&EndError{Origin: Shutdown, Err: ErrShutdown})
	}
	for _, c := range all {
		<-c.done
	}
	made := make(chan struct{})
	go func() {
		n.makers.Wait()
		close(made)
	}()
	if left := n.counts.left.Load(); !n.within(made) || left > 0 {
		n.downErr = fmt.Errorf("raw: shut down, but a handshake, a dial or %d other callbacks have not returned; let them end when their context does", left)
	}
}

// within waits for a channel for at most HookTimeout, and reports whether it was
// closed.
func (n *Node) within(ch <-chan struct{}) bool {
	if n.config.HookTimeout == 0 {
		<-ch
		return true
	}
	select {
	case <-ch: // mostly
		return true
	default:
	}
	t := time.NewTimer(n.config.HookTimeout)
	defer t.Stop()
	select {
	case <-ch:
		return true
	case <-t.C:
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
}
