package kcp

import (
	"net"
	"sync"

	"github.com/xtaci/kcp-go/v5"
)

// A socket is a UDP socket that is listened on. It lives until its door and all
// its sessions are closed.
type socket struct {
	transport *Transport
	gate      *gate
	kcp       *kcp.Listener
	loop      sync.WaitGroup

	// Guarded by the transport's mu.
	door   *door // nil: whoever comes is turned away
	users  int   // sessions
	closed bool
}

// A door is the net.Listener of a socket. One may follow another.
type door struct {
	socket *socket
	links  chan *link
	closed chan struct{}
	close  sync.Once
}

// open gives the socket a new door. Callers hold mu.
func (s *socket) open() *door {
	s.door = &door{socket: s, links: make(chan *link), closed: make(chan struct{})}
	s.gate.setOpen(true)
	return s.door
}

// release closes the socket if nobody needs it. Callers hold mu.
func (s *socket) release() {
	if s.door == nil && s.users == 0 && !s.closed {
		s.closed = true
		s.gate.Close()
		delete(s.transport.sockets, s)
	}
}

// run takes sessions from kcp-go until the socket is closed.
func (s *socket) run() {
	// kcp-go tells of the closed socket and of sessions that still wait by
	// turns, as chance has it. This many errors in a row: none waits.
	const sure = 64
	for errors := 0; errors < sure; {
		u, err := s.kcp.AcceptKCP()
		if err != nil {
			errors++
			continue
		}
		errors = 0
		if l, d := s.admit(u); l == nil {
			u.Close()
		} else {
			select {
			case d.links <- l:
			case <-d.closed:
				l.Close()
			}
		}
	}
	s.kcp.Close()
}

// admit makes a session of u, if somebody listens and it was opened as it has to
// be.
func (s *socket) admit(u *kcp.UDPSession) (l *link, d *door) {
	t := s.transport
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.door == nil || t.closed {
		return nil, nil
	}
	s.gate.admit(u.RemoteAddr(), u.GetConv(), func(g *guest) *session {
		l = t.follow(u, s.gate.LocalAddr(), s, nil, func() { s.gate.forget(g) })
		return l.session
	})
	return l, s.door
}

// Accept returns the next session.
func (d *door) Accept() (net.Conn, error) {
	select {
	case l := <-d.links:
		return l, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

// Addr returns the address of the socket.
func (d *door) Addr() net.Addr { return d.socket.gate.LocalAddr() }

// Close lets nobody else in.
func (d *door) Close() error {
	d.close.Do(func() {
		close(d.closed)
		t := d.socket.transport
		t.mu.Lock()
		defer t.mu.Unlock()
		d.socket.door = nil
		d.socket.gate.setOpen(false)
		d.socket.release()
	})
	return nil
}
