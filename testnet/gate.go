package testnet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// A pair is two nodes, the lower ID first.
type pair [2]identity.NodeID

func pairOf(a, b identity.NodeID) pair {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return pair{a, b}
}

// A gate stands between the nodes of a network, whatever their transport, and
// keeps pairs of them, and single ones, apart.
type gate struct {
	mu   sync.Mutex // guards the rest
	shut map[pair]bool
	gone map[identity.NodeID]bool
	open map[pair]map[conn.Conn]bool
}

func newGate() *gate {
	return &gate{shut: make(map[pair]bool), gone: make(map[identity.NodeID]bool), open: make(map[pair]map[conn.Conn]bool)}
}

// cut breaks what two nodes have open, and keeps them apart until heal.
func (g *gate) cut(a, b identity.NodeID) {
	g.mu.Lock()
	p := pairOf(a, b)
	g.shut[p] = true
	g.mu.Unlock()
	g.sever(func(q pair) bool { return q == p })
}

// once breaks what two nodes have open.
func (g *gate) once(a, b identity.NodeID) {
	p := pairOf(a, b)
	g.sever(func(q pair) bool { return q == p })
}

// vanish breaks all that a node has open, and keeps it from all others until
// appear.
func (g *gate) vanish(id identity.NodeID) {
	g.mu.Lock()
	g.gone[id] = true
	g.mu.Unlock()
	g.sever(func(q pair) bool { return q[0] == id || q[1] == id })
}

func (g *gate) appear(id identity.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.gone, id)
}

// sever breaks connections of some pairs.
func (g *gate) sever(of func(pair) bool) {
	var conns []conn.Conn
	g.mu.Lock()
	for p, open := range g.open {
		if of(p) {
			conns = slices.AppendSeq(conns, maps.Keys(open))
			delete(g.open, p)
		}
	}
	g.mu.Unlock()
	for _, c := range conns {
		c.Close(errCut)
	}
}

func (g *gate) heal(a, b identity.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.shut, pairOf(a, b))
}

// errCut is why a cut connection ends.
var errCut = &conn.CloseError{Code: conn.CodeUnreachable, Reason: "testnet: cut"}

// enter lets a connection in, or closes it.
func (g *gate) enter(self identity.NodeID, c conn.Conn) error {
	p := pairOf(self, c.Node())
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut[p] || g.gone[p[0]] || g.gone[p[1]] {
		c.Close(errCut)
		return fmt.Errorf("testnet: %w", errCut)
	}
	if g.open[p] == nil {
		g.open[p] = make(map[conn.Conn]bool)
	}
	g.open[p][c] = true
	return nil
}

func (g *gate) leave(self identity.NodeID, c conn.Conn) {
	p := pairOf(self, c.Node())
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open[p], c)
	if len(g.open[p]) == 0 {
		delete(g.open, p)
	}
}

// A gatedTransport passes every connection through the gate, and brings the
// environment of the network.
type gatedTransport struct {
	conn.Transport
	gate *gate
	env  env.Env
}

var _ env.Provider = (*gatedTransport)(nil)

// Env returns the environment.
func (t *gatedTransport) Env() env.Env { return t.env }

func (t *gatedTransport) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	c, err := t.Transport.Dial(ctx, local, peer, addr)
	if err != nil {
		return nil, err
	}
	return t.gate.wrap(local.Key.ID(), c)
}

func (t *gatedTransport) Listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	l, err := t.Transport.Listen(ctx, local, addr)
	if err != nil {
		return nil, err
	}
	return &gatedListener{l, t.gate, local.Key.ID()}, nil
}

type gatedListener struct {
	conn.Listener
	gate *gate
	self identity.NodeID
}

func (l *gatedListener) Accept(ctx context.Context) (conn.Conn, error) {
	c, err := l.Listener.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return l.gate.wrap(l.self, c)
}

// wrap lets a connection in and forgets it when it is closed.
func (g *gate) wrap(self identity.NodeID, c conn.Conn) (conn.Conn, error) {
	if err := g.enter(self, c); err != nil {
		return nil, err
	}
	if d, ok := c.(conn.DatagramConn); ok {
		return &gatedDatagramConn{d, g, self}, nil
	}
	return &gatedConn{c, g, self}, nil
}

type gatedConn struct {
	conn.Conn
	gate *gate
	self identity.NodeID
}

func (c *gatedConn) Close(cause error) error {
	c.gate.leave(c.self, c.Conn)
	return c.Conn.Close(cause)
}

type gatedDatagramConn struct {
	conn.DatagramConn
	gate *gate
	self identity.NodeID
}

func (c *gatedDatagramConn) Close(cause error) error {
	c.gate.leave(c.self, c.DatagramConn)
	return c.DatagramConn.Close(cause)
}
