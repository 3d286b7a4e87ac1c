package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/quicgo"
	"github.com/plexus-net/plexus/internal/race"
	"github.com/plexus-net/plexus/internal/udp"
)

// A Transport makes QUIC connections. It implements [conn.Transport] for the
// scheme "quic". Make one with [New] or [NewWith].
type Transport struct {
	config Config
	wrong  error                                // with the configuration
	dials  *secure.Dials                        // and calls of Rebind
	won    *race.Memory[string, netip.AddrPort] // which addresses of host names have answered
	work   sync.WaitGroup                       // goroutines that follow connections
	moving sync.Mutex                           // held by Rebind

	retries, refused, lost atomic.Uint64 // as in Stats

	mu      sync.Mutex // guards what follows, and the sockets
	closed  bool
	sockets map[*socket]struct{}
	own     *socket // over Config.PacketConn; nil: not used yet
}

// maxRemember is of how many host names the last winner is known.
const maxRemember = 256

var _ conn.Transport = (*Transport)(nil)

// New returns a transport that has no socket yet.
func New() *Transport { return NewWith(Config{}) }

// NewWith is [New] with a configuration. If that is not valid, every Dial and
// Listen says so.
func NewWith(c Config) *Transport {
	quicgo.Quiet()
	c, err := c.withDefaults()
	return &Transport{
		config: c, wrong: err, dials: secure.NewDials(), sockets: map[*socket]struct{}{},
		won: race.NewMemory[string, netip.AddrPort](env.Real{}, race.MemoryConfig{Peers: maxRemember}),
	}
}

// Stats counts what a [Transport] has seen since it was made, on all sockets.
type Stats struct {
	// Retries is how many incoming connections had to prove their address
	// first, because more than half of Local.MaxHandshakes were under way.
	Retries uint64
	// Refused is how many first packets were turned away before any
	// cryptography, because MaxHandshakes had not yet said hello.
	Refused uint64
	// Lost is how many packets the system did not take, for want of a route,
	// say: QUIC sends again what was in them.
	Lost uint64
}

// Stats returns the counters.
func (t *Transport) Stats() Stats {
	return Stats{Retries: t.retries.Load(), Refused: t.refused.Load(), Lost: t.lost.Load()}
}

// Schemes returns "quic".
func (t *Transport) Schemes() []string { return []string{"quic"} }

// hostPort returns what package net resolves.
func hostPort(a identity.Address) (string, error) {
	if a.Scheme != "quic" || a.Host == "" || a.Path != "" {
		return "", errors.New("not a quic address; want quic://host:port")
	}
	return a.Host, nil
}

func address(a net.Addr) identity.Address {
	return identity.Address{Scheme: "quic", Host: udp.HostPort(a)}
}

// Dial connects to the node at addr, within local.HandshakeTimeout. UDP does not
// tell that nobody listens: that takes the whole time. If the host is a name
// with several addresses, they race (RFC 8305): another one starts every 250 ms,
// or when one has failed; the first that answers wins, the others are given up,
// and it is the first to be tried next time.
func (t *Transport) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	ctx, end, err := t.dials.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("quic: dial %s: %w", addr, err)
	}
	defer end()
	c, err := t.dial(ctx, local.WithDefaults(), peer, addr)
	if err != nil {
		return nil, fmt.Errorf("quic: dial %s: %w", addr, err)
	}
	return c, nil
}

func (t *Transport) dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (*connection, error) {
	if t.wrong != nil {
		return nil, t.wrong
	}
	host, err := hostPort(addr)
	if err != nil {
		return nil, err
	}
	tls, err := secure.Config(local.Key, peer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, local.HandshakeTimeout)
	defer cancel()
	targets, err := udp.Resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	targets = t.won.Order(host, targets, func(netip.AddrPort) int { return 0 })
	c, winner, err := race.Dial(ctx, env.Real{}, race.Config{}, targets, func(ctx context.Context, target netip.AddrPort) (*connection, error) {
		return t.dialOne(ctx, local, tls, net.UDPAddrFromAddrPort(target))
	}, func(late *connection) { late.Close(errSlower) })
	if err != nil {
		return nil, err
	}
	if len(targets) > 1 {
		t.won.Worked(host, targets[winner])
	}
	return c, nil
}

// errSlower is why a connection ends that nobody has seen.
var errSlower = &conn.CloseError{Code: conn.CodeReplaced, Reason: "another address answered first"}

// dialOne dials one address.
func (t *Transport) dialOne(ctx context.Context, local conn.Local, tls *tls.Config, target *net.UDPAddr) (*connection, error) {
	s, err := t.socketFor(target, local.Key)
	if err != nil {
		return nil, err
	}
	defer s.release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	this := &attempt{target, cancel}
	t.mu.Lock()
	s.dialling[this] = struct{}{}
	t.mu.Unlock()
	qc, err := s.quic.Dial(ctx, target, tls, t.config.quic(local))
	t.mu.Lock()
	delete(s.dialling, this)
	t.mu.Unlock()
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, mapError(err)
	}
	return s.newConn(qc, local.Key.ID(), target)
}

// Listen accepts connections at addr. The socket also serves dials. With a
// Config.PacketConn it is that one, one listener at a time.
func (t *Transport) Listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	l, err := t.listen(ctx, local.WithDefaults(), addr)
	if err != nil {
		return nil, fmt.Errorf("quic: listen at %s: %w", addr, err)
	}
	return l, nil
}

// Close closes the listeners, ends pending dials and closes all connections,
// which use the sockets, with [conn.CodeShutdown].
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	var listeners []*listener
	for s := range t.sockets {
		if s.listener != nil {
			listeners = append(listeners, s.listener)
		}
	}
	t.mu.Unlock()
	t.dials.Stop()
	for _, l := range listeners {
		l.Close()
	}
	t.dials.Wait()

	t.mu.Lock()
	var conns []*connection
	for s := range t.sockets {
		conns = slices.AppendSeq(conns, maps.Keys(s.conns))
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.Close(&conn.CloseError{Code: conn.CodeShutdown})
	}
	t.work.Wait()

	t.mu.Lock()
	sockets := slices.Collect(maps.Keys(t.sockets))
	clear(t.sockets)
	t.mu.Unlock()
	var err error
	for _, s := range sockets {
		err = errors.Join(err, s.close())
	}
	return err
}
