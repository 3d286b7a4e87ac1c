package kcp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/xtaci/kcp-go/v5"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

const scheme = "kcp"

// farewell is how long Transport.Close lets connections finish that were closed
// just before.
const farewell = 200 * time.Millisecond

// errSocket ends the connections of a socket that is closed.
var errSocket = &conn.CloseError{Code: conn.CodeUnreachable, Reason: "the transport of the connection was closed"}

// A Transport makes KCP connections. It implements [conn.Transport] for the
// scheme "kcp". Each dial has a UDP socket of its own; a listener shares its
// socket with the connections that it accepted, until the last of them is
// closed. Make one with [New] or [NewWith].
type Transport struct {
	*secure.Transport
	config  Config
	invalid error

	mu       sync.Mutex // guards what follows, and the doors of sockets
	closed   bool
	sockets  map[*socket]struct{}
	sessions map[*session]struct{}
}

var _ conn.Transport = (*Transport)(nil)

// New returns a transport that listens nowhere yet.
func New() *Transport { return NewWith(Config{}) }

// NewWith is [New] with a configuration. If that is not valid, every Dial and
// Listen says so.
func NewWith(c Config) *Transport {
	t := &Transport{sockets: map[*socket]struct{}{}, sessions: map[*session]struct{}{}}
	t.config, t.invalid = c.withDefaults()
	t.Transport = secure.NewTransport(secure.Network{Scheme: scheme, Dial: t.dial, Listen: t.listen, Address: address})
	return t
}

func address(a net.Addr) identity.Address {
	if u, ok := a.(*net.UDPAddr); ok {
		ap := u.AddrPort()
		return identity.Address{Scheme: scheme, Host: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()}
	}
	return identity.Address{Scheme: scheme, Host: a.String()}
}

func hostPort(a identity.Address) (string, error) {
	if a.Host == "" || a.Path != "" {
		return "", errors.New("not the address of a socket; want kcp://host:port")
	}
	return a.Host, nil
}

// dial begins a connection. Nothing is sent before the handshake's first bytes,
// and UDP does not tell that nobody listens.
func (t *Transport) dial(ctx context.Context, addr identity.Address) (net.Conn, error) {
	host, err := hostPort(addr)
	if err = errors.Join(t.invalid, err); err != nil {
		return nil, err
	}
	// A socket that is connected finds out both addresses.
	probe, err := new(net.Dialer).DialContext(ctx, "udp", host)
	if err != nil {
		return nil, err
	}
	local, remote := *probe.LocalAddr().(*net.UDPAddr), probe.RemoteAddr().(*net.UDPAddr)
	probe.Close()
	network := "udp6"
	if remote.IP.To4() != nil {
		network = "udp4"
	}
	pc, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, err
	}
	local.Port = pc.LocalAddr().(*net.UDPAddr).Port
	var conversation [4]byte
	_, _ = rand.Read(conversation[:]) // never fails
	u, err := kcp.NewConn4(binary.BigEndian.Uint32(conversation[:]), remote, nil, 0, 0, true, pc)
	if err != nil {
		pc.Close()
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.follow(u, &local, nil), nil
}

// follow starts the session of u, of a socket or of its own. Callers hold mu.
func (t *Transport) follow(u *kcp.UDPSession, local net.Addr, s *socket) *link {
	l := newSession(u, &t.config, local, s != nil, func(ended *session) {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.sessions, ended)
		if s != nil {
			s.users--
			s.release()
		}
	})
	t.sessions[l.session] = struct{}{}
	if s != nil {
		s.users++
	}
	return l
}

func (t *Transport) listen(ctx context.Context, addr identity.Address) (net.Listener, error) {
	host, err := hostPort(addr)
	if err = errors.Join(t.invalid, err); err != nil {
		return nil, err
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
	kl, err := kcp.ServeConn(nil, 0, 0, pc)
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
	s := &socket{transport: t, conn: pc, kcp: kl}
	t.sockets[s] = struct{}{}
	d := s.open()
	s.loop.Go(s.run)
	return d, nil
}

// reopen listens again on a socket that only connections have held.
func (t *Transport) reopen(host string) net.Listener {
	at, err := net.ResolveUDPAddr("udp", host)
	if err != nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.sockets {
		if s.door == nil && s.conn.LocalAddr().String() == at.String() {
			return s.open()
		}
	}
	return nil
}

// Close closes the listeners and their sockets, and ends pending dials.
// Connections that were accepted break; those that were dialled live on. What
// was closed just before is given 200 ms to tell the other end.
func (t *Transport) Close() error {
	err := t.Transport.Close()
	t.mu.Lock()
	t.closed = true
	var ending []*session
	for s := range t.sessions {
		switch {
		case s.leaving.Load():
			ending = append(ending, s)
		case s.shared:
			s.kill(errSocket)
			ending = append(ending, s)
		}
	}
	sockets := make([]*socket, 0, len(t.sockets))
	for s := range t.sockets {
		sockets = append(sockets, s)
	}
	t.mu.Unlock()
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	late := timer.C
	for _, s := range ending {
		select {
		case <-s.gone:
			continue
		case <-late:
			late = closedTime
		}
		s.kill(errSocket)
		<-s.gone
	}
	for _, s := range sockets {
		s.loop.Wait() // it has no users any more
	}
	return err
}

// closedTime is a timer that has fired for good.
var closedTime = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()
