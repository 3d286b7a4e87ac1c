package quic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A socket is a UDP socket with what uses it. One that listens or has listened
// closes with its last user, one made for dialling with the transport or, once
// Rebind has put another in its place, with its last user too.
type socket struct {
	transport *Transport
	conn      net.PacketConn // what quic-go uses
	wire      *wire          // beneath conn; nil: the caller's own
	quic      *quic.Transport
	addr      *net.UDPAddr // nil: an own one that has none
	at        identity.Address
	shared    bool // made for dialling

	// Guarded by transport.mu.
	retired  bool      // no dials go from here
	users    int       // dials, connections, also those moved away, and the listener
	listener *listener // nil: none now
	conns    map[*connection]struct{}
	dialling map[*attempt]struct{}
	parking  *time.Timer // closes what no connection uses any more
}

// An attempt is a dial from a socket.
type attempt struct {
	to     *net.UDPAddr
	giveUp context.CancelCauseFunc
}

// newSocket takes over pc. Callers hold t.mu. With a reset key, the node tells
// those whose connections it has lost by a restart, at once (RFC 9000, 10.3).
func (t *Transport) newSocket(pc net.PacketConn, reset *quic.StatelessResetKey) *socket {
	s := &socket{transport: t, at: address(pc.LocalAddr()), conns: map[*connection]struct{}{}, dialling: map[*attempt]struct{}{}}
	s.addr, _ = pc.LocalAddr().(*net.UDPAddr)
	if udp, ok := pc.(*net.UDPConn); ok {
		s.wire = newWire(udp, t.config.NoGSO, s.lost)
		s.conn = batched(s.wire, !t.config.NoGRO)
	} else {
		s.conn = tolerant{pc}
	}
	s.quic = &quic.Transport{Conn: s.conn, StatelessResetKey: reset, ConnContext: s.incoming, VerifySourceAddress: s.verify}
	t.sockets[s] = struct{}{}
	return s
}

// lost is told of a packet that could not be sent. A dial to where no route
// leads is given up at once: others may be faster to try.
func (s *socket) lost(to *net.UDPAddr, err error) {
	t := s.transport
	t.lost.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	for a := range s.dialling {
		if a.to.IP.Equal(to.IP) && a.to.Port == to.Port {
			a.giveUp(&conn.CloseError{Code: conn.CodeUnreachable, Err: err})
		}
	}
}

// socketFor returns a socket to dial target from, with one more user.
func (t *Transport) socketFor(target *net.UDPAddr, key identity.PrivateKey) (*socket, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, conn.ErrClosed
	}
	found := t.ownSocket(key)
	for s := range t.sockets {
		if found != nil && found.listener != nil {
			break
		}
		if !s.retired && s.reaches(target) && (found == nil || s.listener != nil) {
			found = s
		}
	}
	if found == nil {
		pc, err := t.dialSocket(target)
		if err != nil {
			return nil, err
		}
		found = t.newSocket(pc, nil) // nobody finds an ephemeral socket again
		found.shared = true
	}
	found.users++
	return found, nil
}

// dialSocket opens a socket to dial target from.
func (t *Transport) dialSocket(target *net.UDPAddr) (*net.UDPConn, error) {
	from := anyAddr(target)
	if t.config.LocalAddr != "" {
		from, _ = localAddr(t.config.LocalAddr) // was checked
		if !reaches(from, true, target) {
			return nil, fmt.Errorf("%s cannot be reached from Config.LocalAddr, %s", target, from)
		}
	}
	return listenUDP(from)
}

// anyAddr returns any address of the family of target, and any port.
func anyAddr(target *net.UDPAddr) *net.UDPAddr {
	if target.IP.To4() != nil {
		return &net.UDPAddr{IP: net.IPv4zero}
	}
	return &net.UDPAddr{IP: net.IPv6unspecified}
}

// listenUDP opens a socket of the family of at alone.
func listenUDP(at *net.UDPAddr) (*net.UDPConn, error) {
	network := "udp6"
	if at.IP.To4() != nil {
		network = "udp4"
	}
	return net.ListenUDP(network, at)
}

// ownSocket returns the socket over Config.PacketConn, nil if there is none.
// Callers hold t.mu.
func (t *Transport) ownSocket(key identity.PrivateKey) *socket {
	if t.config.PacketConn == nil || t.own != nil && t.own.retired {
		return nil
	}
	if t.own == nil {
		t.own = t.newSocket(t.config.PacketConn, resetKey(key))
		t.own.shared = true
	}
	return t.own
}

// reaches reports whether packets can go from s to target: they are of the
// same family, and both of this machine alone or neither. One bound to :: takes
// both families unless it was made for IPv6 alone.
func (s *socket) reaches(target *net.UDPAddr) bool {
	return s.addr == nil || reaches(s.addr, s.shared, target)
}

func reaches(from *net.UDPAddr, oneFamily bool, target *net.UDPAddr) bool {
	own4, target4 := from.IP.To4() != nil, target.IP.To4() != nil
	if from.IP.IsUnspecified() {
		return own4 == target4 || !own4 && !oneFamily
	}
	return own4 == target4 && from.IP.IsLoopback() == target.IP.IsLoopback()
}

// release takes a user away and closes the socket after the last one.
func (s *socket) release() {
	t := s.transport
	t.mu.Lock()
	s.users--
	_, open := t.sockets[s]
	last := open && s.users == 0 && (!s.shared || s.retired)
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
	s.transport.mu.Lock()
	if s.parking != nil {
		s.parking.Stop()
	}
	s.transport.mu.Unlock()
	err := s.quic.Close()
	if s.wire != nil {
		return errors.Join(err, s.wire.Close())
	}
	return errors.Join(err, s.conn.Close())
}

// newConn makes the connection of an established connection, which uses the socket
// until it ends; target is nil for one that was accepted. On an error it has been
// closed.
func (s *socket) newConn(qc *quic.Conn, own identity.NodeID, target *net.UDPAddr) (*connection, error) {
	c, err := newConn(qc, own, target)
	if err != nil {
		_ = qc.CloseWithError(quic.ApplicationErrorCode(conn.CodeProtocol), "") // it is useless anyway
		return nil, err
	}
	c.local.Store(&s.at)
	t := s.transport
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		c.Close(&conn.CloseError{Code: conn.CodeShutdown})
		return nil, conn.ErrClosed
	}
	s.users++
	s.conns[c] = struct{}{}
	c.socket = s
	t.work.Add(1)
	t.mu.Unlock()
	context.AfterFunc(qc.Context(), func() {
		defer t.work.Done()
		t.mu.Lock()
		used := append(c.held, c.socket)
		delete(c.socket.conns, c)
		c.socket, c.held = nil, nil
		t.mu.Unlock()
		for _, s := range used {
			s.release()
		}
	})
	return c, nil
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
		s.transport.refused.Add(1)
		return nil, errBusy
	}
	return ctx, nil
}

// verify is called by quic-go for every new connection. While more than half of
// the handshakes that may be at a time are under way, its address must be proven
// first, by one more round trip (Retry): forged ones take no place.
func (s *socket) verify(net.Addr) bool {
	l := s.current()
	if l == nil || l.greetings.Silent()+l.Pending() < (l.local.MaxHandshakes+1)/2 {
		return false
	}
	s.transport.retries.Add(1)
	return true
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
