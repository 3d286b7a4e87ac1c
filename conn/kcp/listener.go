package kcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"github.com/xtaci/kcp-go/v5"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// A listener takes the sessions of a socket while its door is open.
type listener struct {
	*secure.Handshakes
	local conn.Local
	door  *door
	at    identity.Address
	loop  sync.WaitGroup
}

// Listen accepts connections at addr. After Close of the listener, its
// connections keep the socket; listening there again takes the same one.
func (t *Transport) Listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	l, err := t.listen(ctx, local.WithDefaults(), addr)
	if err != nil {
		return nil, fmt.Errorf("kcp: listen at %s: %w", addr, err)
	}
	return l, nil
}

func (t *Transport) listen(ctx context.Context, local conn.Local, addr identity.Address) (*listener, error) {
	host, err := hostPort(addr)
	if err != nil {
		return nil, err
	}
	if _, err := secure.Config(local.Key, identity.NodeID{}); err != nil {
		return nil, err // of every handshake
	}
	d, err := t.doorAt(ctx, host)
	if err != nil {
		return nil, err
	}
	l := &listener{Handshakes: secure.NewHandshakes(local.MaxHandshakes), local: local, door: d, at: address(d.Addr())}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		d.Close()
		return nil, conn.ErrClosed
	}
	t.listeners[l] = struct{}{}
	l.loop.Go(func() { l.Take(d, "kcp: accept at "+l.at.String(), l.shake) })
	t.mu.Unlock()
	return l, nil
}

// doorAt opens a door at host: of a new socket, or of one that only connections
// have held.
func (t *Transport) doorAt(ctx context.Context, host string) (*door, error) {
	if t.invalid != nil {
		return nil, t.invalid
	}
	pc, err := new(net.ListenConfig).ListenPacket(ctx, "udp", host)
	if errors.Is(err, syscall.EADDRINUSE) {
		if d := t.reopen(host); d != nil {
			return d, nil
		}
	}
	if err != nil {
		return nil, err
	}
	g := newGate(pc.(*net.UDPConn)) // that is what package net makes
	kl, err := kcp.ServeConn(nil, 0, 0, g)
	if err != nil {
		pc.Close()
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		pc.Close()
		return nil, conn.ErrClosed
	}
	s := &socket{transport: t, gate: g, kcp: kl}
	t.sockets[s] = struct{}{}
	d := s.open()
	s.loop.Go(s.run)
	return d, nil
}

// reopen listens again on a socket that only connections have held.
func (t *Transport) reopen(host string) *door {
	at, err := net.ResolveUDPAddr("udp", host)
	if err != nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.sockets {
		if s.door == nil && s.gate.LocalAddr().String() == at.String() {
			return s.open()
		}
	}
	return nil
}

// shake makes a connection of a link.
func (l *listener) shake(ctx context.Context, nc net.Conn) (conn.Conn, error) {
	c, err := secure.Server(ctx, nc, l.local, address(nc.LocalAddr()), address(nc.RemoteAddr()))
	if err == nil {
		nc.(*link).session.proven.Store(true)
	}
	return c, err
}

// Addr returns the address listened on.
func (l *listener) Addr() identity.Address { return l.at }

// Close stops listening, ends handshakes and waits until they have ended.
func (l *listener) Close() error {
	l.Handshakes.Close()
	l.door.Close()
	l.loop.Wait()
	t := l.door.socket.transport
	t.mu.Lock()
	delete(t.listeners, l)
	t.mu.Unlock()
	return nil
}
