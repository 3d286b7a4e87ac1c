//go:build !js

package webtransport

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/conn"
)

// A socket is a UDP socket with what uses it. One that listens or has listened
// closes with its last user, one made for dialling with the transport.
type socket struct {
	transport *Transport
	udp       *net.UDPConn
	quic      *quic.Transport
	addr      *net.UDPAddr
	shared    string // the network it was made to dial in; empty: to listen

	// Guarded by transport.mu.
	users    int       // dials, connections and the listener
	listener *listener // nil: none now
	conns    map[*connection]struct{}
}

// newSocket takes over udp, with one user. Callers hold t.mu.
func (t *Transport) newSocket(udp *net.UDPConn, shared string) *socket {
	s := &socket{
		transport: t, udp: udp, addr: udp.LocalAddr().(*net.UDPAddr), shared: shared,
		quic: &quic.Transport{Conn: udp}, users: 1, conns: map[*connection]struct{}{},
	}
	if shared == "" {
		s.quic.ConnContext = s.incoming
		s.quic.VerifySourceAddress = s.verify
	}
	t.sockets[s] = struct{}{}
	return s
}

// dialSocket returns the socket for dials to target, with one more user.
func (t *Transport) dialSocket(target *net.UDPAddr) (*socket, error) {
	network, ip := "udp6", net.IPv6unspecified
	if target.IP.To4() != nil {
		network, ip = "udp4", net.IPv4zero
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, conn.ErrClosed
	}
	for s := range t.sockets {
		if s.shared == network {
			s.users++
			return s, nil
		}
	}
	udp, err := net.ListenUDP(network, &net.UDPAddr{IP: ip})
	if err != nil {
		return nil, err
	}
	return t.newSocket(udp, network), nil
}

// listenSocket returns a socket at host, with one more user: one that a closed
// listener has left to its connections, or a new one.
func (t *Transport) listenSocket(ctx context.Context, host string) (*socket, error) {
	t.mu.Lock()
	for s := range t.sockets {
		if !t.closed && s.addr.String() == host && s.users > 0 && s.listener == nil && s.shared == "" {
			s.users++
			t.mu.Unlock()
			return s, nil
		}
	}
	t.mu.Unlock()
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", host)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		pc.Close()
		return nil, conn.ErrClosed
	}
	return t.newSocket(pc.(*net.UDPConn), ""), nil // for "udp" it always is one
}

// release takes a user away and closes the socket after the last one.
func (s *socket) release() {
	t := s.transport
	t.mu.Lock()
	s.users--
	_, open := t.sockets[s]
	last := open && s.users == 0 && s.shared == ""
	if last {
		delete(t.sockets, s)
	}
	t.mu.Unlock()
	if last {
		_ = s.close() // nobody is left to tell
	}
}

// close closes the socket and waits for what runs on it.
func (s *socket) close() error {
	err := s.quic.Close()
	return errors.Join(err, s.udp.Close())
}

// keep has the socket live as long as c, or closes c.
func (s *socket) keep(c *connection) error {
	t := s.transport
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		c.Close(&conn.CloseError{Code: conn.CodeShutdown})
		return conn.ErrClosed
	}
	s.users++
	s.conns[c] = struct{}{}
	t.work.Add(1)
	t.mu.Unlock()
	context.AfterFunc(c.quic.Context(), func() {
		defer t.work.Done()
		t.mu.Lock()
		delete(s.conns, c)
		t.mu.Unlock()
		s.release()
	})
	return nil
}

// incoming is called by quic-go for every new connection. It refuses one where
// too many, of its host or in all, have not even said hello.
func (s *socket) incoming(ctx context.Context, from *quic.ClientInfo) (context.Context, error) {
	l := s.current()
	if l == nil {
		return nil, errStopped
	}
	ctx, ok := l.greetings.Await(ctx, from, l.local.MaxHandshakes)
	if !ok {
		return nil, errBusy
	}
	return ctx, nil
}

// verify is called by quic-go for every new connection. While half of the
// handshakes that may be at a time are under way, its address must be proven
// first, by one more round trip (Retry): forged ones take no place.
func (s *socket) verify(net.Addr) bool {
	l := s.current()
	return l != nil && l.greetings.Silent()+l.Pending() >= (l.local.MaxHandshakes+1)/2
}

func (s *socket) current() *listener {
	s.transport.mu.Lock()
	defer s.transport.mu.Unlock()
	return s.listener
}

// hostOf returns the name or address in host:port, without brackets and zone.
func hostOf(host string) string {
	h, _, err := net.SplitHostPort(host)
	if err != nil {
		return host
	}
	h, _, _ = strings.Cut(h, "%")
	return h
}

var (
	errBusy    = errors.New("webtransport: too many handshakes")
	errStopped = errors.New("webtransport: not listening")
)
