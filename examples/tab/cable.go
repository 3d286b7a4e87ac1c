//go:build !js

package main

import (
	"context"
	"sync"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A cable is what the connections of tabs go through. It can be pulled.
type cable struct {
	mu    sync.Mutex // guards wires
	wires map[*wire]struct{}
}

// A wire is a connection through the cable.
type wire struct {
	conn.Conn
	cable *cable
}

// Features tells of none: what is not a stream would not go through the cable.
func (w *wire) Features() conn.Features { return conn.Features{} }

// Close ends the connection.
func (w *wire) Close(cause error) error {
	w.cable.mu.Lock()
	delete(w.cable.wires, w)
	w.cable.mu.Unlock()
	return w.Conn.Close(cause)
}

// pull breaks all connections, and returns how many. What is on its way is lost.
func (c *cable) pull() (broken int) {
	c.mu.Lock()
	wires := c.wires
	c.wires = nil
	c.mu.Unlock()
	for w := range wires {
		w.Conn.Close(&conn.CloseError{Code: conn.CodeUnreachable, Reason: "somebody has pulled the cable"})
	}
	return len(wires)
}

// into returns a transport that listens at the end of the cable.
func (c *cable) into(t conn.Transport) conn.Transport { return plug{t, c} }

type plug struct {
	conn.Transport
	cable *cable
}

// Listen accepts connections that come through the cable.
func (p plug) Listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	l, err := p.Transport.Listen(ctx, local, addr)
	if err != nil {
		return nil, err
	}
	return socket{l, p.cable}, nil
}

type socket struct {
	conn.Listener
	cable *cable
}

// Accept waits for the next connection.
func (s socket) Accept(ctx context.Context) (conn.Conn, error) {
	c, err := s.Listener.Accept(ctx)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c, cable: s.cable}
	s.cable.mu.Lock()
	defer s.cable.mu.Unlock()
	if s.cable.wires == nil {
		s.cable.wires = map[*wire]struct{}{}
	}
	s.cable.wires[w] = struct{}{}
	return w, nil
}
