package raw

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// An attempt is a connection that is being made, in either direction:
//
//	slot ─> dial (Connect) ─┬─> Handshake ─> Conn
//	        accept ─────────┘       │
//	           └── time-out, error, cancel, limit, Shutdown: closed, slot free
//
// Its goroutine becomes the one that reads the connection.
type attempt struct {
	node      *Node
	id        identity.ConnID
	direction conn.Direction
	slot      *slot
	target    string // of OnePerAddress; "": none
	ctx       context.Context
	cancel    context.CancelCauseFunc
	done      chan struct{} // closed when it is over

	mu    sync.Mutex // guards what follows
	nc    net.Conn
	phase timeoutError // which time-out bounds what it does now; "": none
	timer *time.Timer  // of the phase
	over  bool         // it has succeeded or failed
	c     *Conn
	err   error
}

// Connect connects to an address, with the Network of the configuration, and
// returns when the handshake has succeeded; it does not wait for OnConnect. It is
// bounded by ctx, ConnectTimeout and HandshakeTimeout. Its errors may be, or wrap,
// a [*LimitError], [ErrSelf], [ErrDuplicate], [ErrShutdown] and [ErrTimeout].
func (n *Node) Connect(ctx context.Context, addr string) (*Conn, error) {
	network := n.config.Network
	if n.isSelf(network, addr) {
		return nil, fmt.Errorf("raw: connect to %s: %w", addr, ErrSelf)
	}
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
	// Without a handshake, nothing is called that may not heed its context.
	return n.connect(ctx, addr, literal(network, addr), dial, n.protocols.handshake == nil)
}

// ConnectUsing is [Node.Connect] with a stream that the caller makes or has: from
// a socket bound to an address of its own, through a proxy, out of a test. dial is
// called once, on a goroutine of its own, and is to return when its ctx ends. The
// stream is the node's from then on.
func (n *Node) ConnectUsing(ctx context.Context, dial func(context.Context) (net.Conn, error)) (*Conn, error) {
	return n.connect(ctx, "", nil, dial, false)
}

// connect makes an outgoing connection. Where dial is known to return when its
// context ends it runs here, which saves waking another goroutine.
func (n *Node) connect(ctx context.Context, target string, remote net.Addr, dial func(context.Context) (net.Conn, error), here bool) (*Conn, error) {
	what := "raw: connect"
	if target != "" {
		what = "raw: connect to " + target
	}
	a, err := n.attempt(ctx, target, remote)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	stop := context.AfterFunc(ctx, func() { a.fail(context.Cause(ctx)) })
	if here {
		if c := a.run(dial); c != nil {
			go c.live()
		}
	} else {
		go a.runAndLive(dial)
	}
	<-a.done
	stop()
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", what, a.err)
	}
	return a.c, nil
}

// literal returns the address that a text spells, nil if it has to be looked up.
func literal(network, addr string) net.Addr {
	host, _, err := net.SplitHostPort(addr)
	if network == "unix" || err != nil {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil {
		return &net.TCPAddr{IP: ip}
	}
	return nil
}

// attempt begins an outgoing connection.
func (n *Node) attempt(ctx context.Context, target string, remote net.Addr) (*attempt, error) {
	if !n.config.OnePerAddress {
		target = ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return nil, ErrShutdown
	}
	if !n.mayConnect(target) {
		return nil, ErrDuplicate
	}
	s, err := n.limits.take(remote)
	if err == nil {
		if err = s.takeDialing(); err != nil {
			s.release()
		}
	}
	if err != nil {
		n.counts.refused(err)
		return nil, err
	}
	a := n.newAttempt(ctx, conn.Outgoing, s)
	a.target = target
	n.connecting(target)
	n.begin(a)
	return a, nil
}

func (n *Node) newAttempt(ctx context.Context, d conn.Direction, s *slot) *attempt {
	a := &attempt{node: n, id: identity.ConnID(n.lastID.Add(1)), direction: d, slot: s, done: make(chan struct{})}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	return a
}

// begin makes the node know an attempt. Callers hold mu.
func (n *Node) begin(a *attempt) {
	n.attempts[a] = struct{}{}
	n.makers.Add(1)
}

// runAndLive makes the connection, and then reads it.
func (a *attempt) runAndLive(dial func(context.Context) (net.Conn, error)) {
	if c := a.run(dial); c != nil {
		c.live()
	}
}

// run makes the connection; nil if that fails.
func (a *attempt) run(dial func(context.Context) (net.Conn, error)) *Conn {
	defer a.node.makers.Done()
	c, err := a.make(dial)
	if err != nil {
		a.fail(err)
	}
	return c
}

func (a *attempt) make(dial func(context.Context) (net.Conn, error)) (*Conn, error) {
	if dial != nil {
		if err := a.dial(dial); err != nil {
			return nil, err
		}
	}
	a.mu.Lock()
	nc := a.nc
	a.mu.Unlock()
	n := a.node
	setBuffers(nc, n.config)
	stream := nc
	if h := n.protocols.handshake; h != nil {
		a.enter(n.config.HandshakeTimeout, errHandshakeTimeout)
		err := guard("Handshake", func() (err error) {
			stream, err = h.Handshake(a.ctx, nc, a.direction)
			return err
		})
		if err == nil && stream == nil {
			err = errors.New("it returned no stream")
		}
		if err != nil {
			return nil, &handshakeError{err}
		}
	}
	c := newConn(a, nc, stream)
	err := a.slot.takePrefix(c.remote) // the handshake may have learned where it comes from
	if err == nil {
		err = c.makeCodecs()
	}
	if err == nil {
		err = n.activate(a, c)
	}
	if err != nil {
		nc.Close() // first, so that closing what wraps it does not wait
		c.closeStream(0)
		return nil, err
	}
	return c, nil
}

func (a *attempt) dial(dial func(context.Context) (net.Conn, error)) error {
	n := a.node
	a.enter(n.config.ConnectTimeout, errConnectTimeout)
	var nc net.Conn
	err := guard("dial", func() (err error) {
		nc, err = dial(a.ctx)
		return err
	})
	if err != nil {
		return err
	}
	if nc == nil {
		return errors.New("raw: dial returned no stream")
	}
	if !a.own(nc) {
		return context.Cause(a.ctx)
	}
	remote, local := nc.RemoteAddr(), nc.LocalAddr()
	if remote == nil || local == nil {
		return nil // a stream of the caller's that has no addresses
	}
	if n.isOwn(local, remote) {
		return ErrSelf
	}
	return a.slot.takePrefix(remote)
}

// own makes the attempt close a stream when it fails, which may be at once.
func (a *attempt) own(nc net.Conn) bool {
	a.mu.Lock()
	over := a.over
	a.nc = nc
	a.mu.Unlock()
	if over {
		nc.Close()
	}
	return !over
}

// enter begins a phase, which a time-out bounds.
func (a *attempt) enter(d time.Duration, err timeoutError) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.phase = err
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	if d > 0 && !a.over {
		a.timer = time.AfterFunc(d, func() { a.fail(err) })
	}
}

// settle makes the attempt succeed or fail, whichever is first. Its timer ends.
func (a *attempt) settle(c *Conn, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return false
	}
	a.over, a.c, a.err = true, c, err
	if a.timer != nil {
		a.timer.Stop()
	}
	return true
}

// fail ends the attempt, unless it is over: whatever its goroutine waits for, the
// stream is closed and the slot free when it returns.
func (a *attempt) fail(err error) {
	if !a.settle(nil, err) {
		return
	}
	a.cancel(err)
	a.mu.Lock()
	nc, phase := a.nc, a.phase
	a.mu.Unlock()
	if nc != nil {
		nc.Close()
	}
	n := a.node
	n.mu.Lock()
	delete(n.attempts, a)
	n.notConnecting(a.target)
	n.mu.Unlock()
	a.slot.release()
	n.counts.failed(err, phase)
	n.logPanic(err)
	close(a.done)
}

// activate makes the attempt's connection one of the node.
func (n *Node) activate(a *attempt, c *Conn) error {
	n.mu.Lock()
	if n.closing || !a.settle(c, nil) {
		n.mu.Unlock()
		return ErrShutdown // or it has failed, with an error of its own
	}
	delete(n.attempts, a)
	n.conns[c.id] = c
	older := n.connected(c)
	n.counts.opened.Add(1)
	if c.direction == conn.Incoming {
		n.counts.accepted.Add(1)
	}
	n.mu.Unlock()
	a.slot.settle()
	if older != nil {
		older.end(&EndError{Origin: Replaced, Err: fmt.Errorf("by %s", c)})
	}
	a.cancel(nil)
	close(a.done)
	return nil
}

// A handshakeError says of an error that it is that of the handshake.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string {
	if e.err == io.EOF {
		return "handshake: the other side closed"
	}
	return "handshake: " + e.err.Error()
}
func (e *handshakeError) Unwrap() error { return e.err }
