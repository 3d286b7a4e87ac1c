package mem

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// errNoKey is the error of a Local without a key.
var errNoKey = errors.New("mem: no key; set conn.Local.Key, for example with identity.Generate")

// A Transport makes connections on a [Network]. It implements [conn.Transport]
// for the scheme "mem".
type Transport struct {
	network *Network

	mu        sync.Mutex // guards listeners, done; after network.mu
	listeners map[*listener]struct{}
	done      bool
	dials     sync.WaitGroup
	closed    chan struct{}
}

var _ conn.Transport = (*Transport)(nil)

// Schemes returns "mem".
func (t *Transport) Schemes() []string { return []string{"mem"} }

// Dial connects to the node that listens at addr. It waits while the network
// between the nodes is stalled or the listener has no room, at most
// local.HandshakeTimeout.
func (t *Transport) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	c, err := t.dial(ctx, local.WithDefaults(), peer, addr)
	if err != nil {
		return nil, fmt.Errorf("mem: dial %s: %w", addr, err)
	}
	return c, nil
}

func (t *Transport) dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (*connection, error) {
	if local.Key.IsZero() {
		return nil, errNoKey
	}
	t.mu.Lock()
	if t.done {
		t.mu.Unlock()
		return nil, conn.ErrClosed
	}
	t.dials.Add(1)
	t.mu.Unlock()
	defer t.dials.Done()

	ctx, cancel := context.WithTimeout(ctx, local.HandshakeTimeout)
	defer cancel()
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		c, wait, err := t.network.connect(local, peer, addr)
		if err != nil || c != nil {
			return c, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
		case <-t.closed:
			return nil, conn.ErrClosed
		}
	}
}

// connect makes a connection to the listener at addr, or returns what to wait
// for before the next attempt.
func (n *Network) connect(local conn.Local, peer identity.NodeID, addr identity.Address) (*connection, <-chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.listeners[key(addr)]
	if l == nil {
		return nil, nil, &conn.CloseError{Code: conn.CodeUnreachable, Reason: "nobody listens there"}
	}
	me, other := local.Key.ID(), l.local.Key.ID()
	p := pairOf(me, other)
	if known := n.links[p]; known != nil {
		if known.cut {
			return nil, nil, &conn.CloseError{Code: conn.CodeUnreachable, Err: ErrCut}
		}
		if known.stalled {
			return nil, known.healed, nil
		}
	}
	if len(l.backlog) == cap(l.backlog) {
		return nil, l.room, nil
	}
	if !peer.IsZero() && peer != other {
		return nil, nil, &conn.WrongNodeError{Want: peer, Got: other}
	}
	from := identity.Address{Scheme: "mem", Host: n.name("dial-")}
	ends := newLine(n, p, [2]identity.NodeID{me, other}, [2]identity.Address{from, l.addr})
	n.link(p).lines[ends[0].line] = struct{}{}
	l.backlog <- ends[1] // has room, and only this function, under n.mu, fills it
	return ends[0], nil, nil
}

// key is where an address stands in Network.listeners.
func key(a identity.Address) string { return a.Host + a.Path }

// Listen accepts connections at addr. The name "x:0" asks for a free one that
// begins with "x:".
func (t *Transport) Listen(_ context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	local = local.WithDefaults()
	switch {
	case addr.Scheme != "mem" || addr.Host == "":
		return nil, fmt.Errorf("mem: listen at %q: not a mem address; want mem://name", addr)
	case local.Key.IsZero():
		return nil, fmt.Errorf("mem: listen at %s: %w", addr, errNoKey)
	}
	n := t.network
	n.mu.Lock()
	defer n.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return nil, fmt.Errorf("mem: listen at %s: %w", addr, conn.ErrClosed)
	}
	if prefix, ok := strings.CutSuffix(addr.Host, ":0"); ok {
		addr.Host = n.name(prefix + ":")
	}
	if n.listeners[key(addr)] != nil {
		return nil, fmt.Errorf("mem: listen at %s: the address is in use", addr)
	}
	l := &listener{
		transport: t, local: local, addr: addr,
		backlog: make(chan *connection, local.MaxHandshakes),
		room:    make(chan struct{}), closed: make(chan struct{}),
	}
	n.listeners[key(addr)] = l
	t.listeners[l] = struct{}{}
	return l, nil
}

// Close closes the listeners and ends pending dials. Connections live on.
func (t *Transport) Close() error {
	t.mu.Lock()
	first := !t.done
	t.done = true
	if first {
		close(t.closed)
	}
	var all []*listener
	for l := range t.listeners {
		all = append(all, l)
	}
	t.mu.Unlock()
	for _, l := range all {
		l.Close()
	}
	t.dials.Wait()
	return nil
}

// A listener is one address of a network. Connections that wait for Accept
// stand in backlog.
type listener struct {
	transport *Transport
	local     conn.Local
	addr      identity.Address
	backlog   chan *connection
	closed    chan struct{}

	room chan struct{} // closed and replaced when backlog gets room; guarded by network.mu
}

// Accept waits for the next connection.
func (l *listener) Accept(ctx context.Context) (conn.Conn, error) {
	select {
	case <-l.closed:
		return nil, conn.ErrClosed
	default:
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	select {
	case c := <-l.backlog:
		l.madeRoom()
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-l.closed:
		return nil, conn.ErrClosed
	}
}

func (l *listener) madeRoom() {
	n := l.transport.network
	n.mu.Lock()
	defer n.mu.Unlock()
	close(l.room)
	l.room = make(chan struct{})
}

// Addr returns the address listened on.
func (l *listener) Addr() identity.Address { return l.addr }

// Close stops listening and closes the connections that wait for Accept.
func (l *listener) Close() error {
	t, n := l.transport, l.transport.network
	n.mu.Lock()
	if n.listeners[key(l.addr)] != l {
		n.mu.Unlock()
		return nil
	}
	delete(n.listeners, key(l.addr))
	close(l.closed)
	close(l.room)
	l.room = make(chan struct{})
	t.mu.Lock()
	delete(t.listeners, l)
	t.mu.Unlock()
	n.mu.Unlock()
	for { // nothing is added once the network does not know the listener
		select {
		case c := <-l.backlog:
			c.Close(&conn.CloseError{Code: conn.CodeShutdown})
		default:
			return nil
		}
	}
}
