package quic

import (
	"context"
	"errors"
	"net"

	"github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A socket is a UDP socket with what uses it. One that listens or has listened
// closes with its last user, one made for dialling with the transport.
type socket struct {
	transport *Transport
	udp       *net.UDPConn
	quic      *quic.Transport
	addr      *net.UDPAddr
	shared    bool // made for dialling

	// Guarded by transport.mu.
	users    int       // dials, connections and the listener
	listener *listener // nil: none now
	conns    map[*connection]struct{}
}

// wrapSocket is wrap; tests and benchmarks do without.
var wrapSocket = wrap

// newSocket takes over udp. Callers hold t.mu. With a reset key, the node tells
// those whose connections it has lost by a restart, at once (RFC 9000, 10.3).
func (t *Transport) newSocket(udp *net.UDPConn, reset *quic.StatelessResetKey) *socket {
	s := &socket{
		transport: t, udp: udp, addr: udp.LocalAddr().(*net.UDPAddr),
		quic: &quic.Transport{Conn: wrapSocket(udp), StatelessResetKey: reset}, conns: map[*connection]struct{}{},
	}
	s.quic.ConnContext = s.incoming
	s.quic.VerifySourceAddress = s.verify
	t.sockets[s] = struct{}{}
	return s
}

// socketFor returns a socket to dial target from, with one more user.
func (t *Transport) socketFor(target *net.UDPAddr) (*socket, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, conn.ErrClosed
	}
	var found *socket
	for s := range t.sockets {
		if s.reaches(target) && (found == nil || s.listener != nil && found.listener == nil) {
			found = s
		}
	}
	if found == nil {
		network, ip := "udp4", net.IPv4zero
		if target.IP.To4() == nil {
			network, ip = "udp6", net.IPv6unspecified
		}
		udp, err := net.ListenUDP(network, &net.UDPAddr{IP: ip})
		if err != nil {
			return nil, err
		}
		found = t.newSocket(udp, nil) // nobody finds an ephemeral socket again
		found.shared = true
	}
	found.users++
	return found, nil
}

// reaches reports whether packets can go from s to target: they are of the
// same family, and both of this machine alone or neither. One bound to :: takes
// both families unless it was made for IPv6 alone.
func (s *socket) reaches(target *net.UDPAddr) bool {
	own4, target4 := s.addr.IP.To4() != nil, target.IP.To4() != nil
	if s.addr.IP.IsUnspecified() {
		return own4 == target4 || !own4 && !s.shared
	}
	return own4 == target4 && s.addr.IP.IsLoopback() == target.IP.IsLoopback()
}

// release takes a user away and closes the socket after the last one.
func (s *socket) release() {
	t := s.transport
	t.mu.Lock()
	s.users--
	_, open := t.sockets[s]
	last := open && s.users == 0 && !s.shared
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

// newConn makes the connection of an established connection, which uses the socket
// until it ends. On an error it has been closed.
func (s *socket) newConn(qc *quic.Conn) (*connection, error) {
	c, err := newConn(qc, s.localAddr())
	if err != nil {
		_ = qc.CloseWithError(quic.ApplicationErrorCode(conn.CodeProtocol), "") // it is useless anyway
		return nil, err
	}
	t := s.transport
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		c.Close(&conn.CloseError{Code: conn.CodeShutdown})
		return nil, conn.ErrClosed
	}
	s.users++
	s.conns[c] = struct{}{}
	t.work.Add(1)
	t.mu.Unlock()
	context.AfterFunc(qc.Context(), func() {
		defer t.work.Done()
		t.mu.Lock()
		delete(s.conns, c)
		t.mu.Unlock()
		s.release()
	})
	return c, nil
}

func (s *socket) localAddr() identity.Address { return address(s.addr) }

// handshakingKey is the context key of the function to call once quic-go has
// seen a whole ClientHello.
type handshakingKey struct{}

// incoming is called by quic-go for every new connection. It refuses one where
// too many have not even said hello.
func (s *socket) incoming(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	l := s.current()
	if l == nil {
		return nil, errStopped
	}
	if l.silent.Add(1) > int64(l.local.MaxHandshakes) {
		l.silent.Add(-1)
		return nil, errBusy
	}
	stop := context.AfterFunc(ctx, func() { l.silent.Add(-1) })
	said := func() {
		if stop() {
			l.silent.Add(-1)
		}
	}
	return context.WithValue(ctx, handshakingKey{}, said), nil
}

// verify is called by quic-go for every new connection. Under load, its address
// must be proven first, by one more round trip: forged ones take no place.
func (s *socket) verify(net.Addr) bool {
	l := s.current()
	return l != nil && int(l.silent.Load())+l.Pending() >= max(1, l.local.MaxHandshakes/4)
}

func (s *socket) current() *listener {
	s.transport.mu.Lock()
	defer s.transport.mu.Unlock()
	return s.listener
}

var (
	errBusy    = errors.New("quic: too many handshakes")
	errStopped = errors.New("quic: not listening")
)
