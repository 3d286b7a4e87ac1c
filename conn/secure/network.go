package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A Network is a way to get a byte stream to an address. [NewTransport] makes a
// transport of it.
type Network struct {
	// Scheme is that of its addresses, and begins its errors.
	Scheme string
	// Dial connects to an address and gives up when ctx ends.
	Dial func(ctx context.Context, addr identity.Address) (net.Conn, error)
	// Listen listens at an address. An error of Accept is taken for a
	// temporary one, until net.ErrClosed: then nothing more arrives, and what
	// has arrived goes on.
	Listen func(ctx context.Context, addr identity.Address) (net.Listener, error)
	// Address returns the address of a socket. Default: Scheme and the
	// socket's own text as the host.
	Address func(net.Addr) identity.Address
	// Prepare is called with each accepted socket before its handshake, on a
	// goroutine of the socket's own and within the time of the handshake. What
	// it returns is used instead, and its RemoteAddr is the host to which the
	// handshake counts ([Handshakes]); after an error the socket is closed.
	// Default: nothing.
	Prepare func(ctx context.Context, nc net.Conn) (net.Conn, error)
	// Plain leaves out TLS: see [PlainClient].
	Plain bool
	// Streams makes the connections [conn.StreamConn]s, unless they are
	// plain. Each stream is a socket of its own, from the side that dialled to
	// the same address, and proves that it belongs to its connection.
	Streams bool
	// MaxStreams bounds the streams that the other end of an accepted
	// connection may have open at a time, those included that wait for
	// AcceptStream. Negative: none, and OpenStream of the other end says so
	// with an error that is errors.ErrUnsupported. Default 256.
	MaxStreams int
}

// A Transport is a [conn.Transport] over a [Network]. Make one with
// [NewTransport].
type Transport struct {
	network  Network
	registry registry
	dials    *Dials // and calls of Listen

	mu        sync.Mutex // guards what follows
	closed    bool
	listeners map[*listener]struct{}
}

var _ conn.Transport = (*Transport)(nil)

// NewTransport returns a transport that listens nowhere yet.
func NewTransport(n Network) *Transport {
	if n.Address == nil {
		n.Address = func(a net.Addr) identity.Address { return identity.Address{Scheme: n.Scheme, Host: a.String()} }
	}
	if n.MaxStreams == 0 {
		n.MaxStreams = maxStreams
	}
	return &Transport{network: n, registry: registry{none: n.MaxStreams < 0}, dials: NewDials(), listeners: map[*listener]struct{}{}}
}

// Schemes returns the one scheme of the transport.
func (t *Transport) Schemes() []string { return []string{t.network.Scheme} }

// Dial connects to the node at addr. Connecting and proving identities take at
// most local.HandshakeTimeout each.
func (t *Transport) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	c, err := t.dials.Run(ctx, func(ctx context.Context) (conn.Conn, error) {
		return t.dial(ctx, local.WithDefaults(), peer, addr)
	})
	if err != nil {
		return nil, t.failed("dial", addr, err)
	}
	return c, nil
}

func (t *Transport) failed(what string, addr identity.Address, err error) error {
	return fmt.Errorf("%s: %s %s: %w", t.network.Scheme, what, addr, err)
}

// connect dials addr within the handshake timeout.
func (t *Transport) connect(ctx context.Context, local conn.Local, addr identity.Address) (net.Conn, error) {
	if addr.Scheme != t.network.Scheme {
		return nil, fmt.Errorf("not an address of this transport; want %s://", t.network.Scheme)
	}
	ctx, cancel := context.WithTimeout(ctx, local.HandshakeTimeout)
	defer cancel()
	return t.network.Dial(ctx, addr)
}

func (t *Transport) dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	if local.Key.IsZero() {
		return nil, errNoKey
	}
	nc, err := t.connect(ctx, local, addr)
	if err != nil {
		return nil, err
	}
	here, there := t.network.Address(nc.LocalAddr()), t.network.Address(nc.RemoteAddr())
	switch {
	case t.network.Plain:
		return PlainClient(ctx, nc, local, peer, here, there)
	case !t.network.Streams:
		return Client(ctx, nc, local, peer, here, there)
	}
	config, err := Config(local.Key, peer)
	if err != nil {
		nc.Close()
		return nil, err
	}
	c := &streamed{own: local.Key.ID(), secured: secured{base: base{local: here, remote: there}}}
	if _, err := c.start(ctx, nc, local, config, tls.Client); err != nil {
		return nil, err
	}
	if c.token, err = tokenOf(c.tls); err != nil {
		nc.Close()
		return nil, err
	}
	c.dial = func(ctx context.Context, s *stream) (byte, error) { return t.open(ctx, local, c, addr, s) }
	return c, nil
}

// open dials a stream of c into s and returns the answer of the other end.
func (t *Transport) open(ctx context.Context, local conn.Local, c *streamed, addr identity.Address, s *stream) (byte, error) {
	config, err := config(local.Key, c.node, StreamALPN)
	if err != nil {
		return 0, err
	}
	nc, err := t.connect(ctx, local, addr)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return 0, t.failed("open a stream to", addr, err)
	}
	s.tls.local, s.tls.remote = t.network.Address(nc.LocalAddr()), t.network.Address(nc.RemoteAddr())
	ctx, cancel := context.WithTimeout(ctx, local.HandshakeTimeout)
	defer cancel()
	var answer byte
	if _, err = s.tls.start(ctx, nc, local, config, tls.Client); err == nil {
		answer, err = introduce(ctx, s, c.token)
	}
	if err != nil {
		return 0, t.failed("open a stream to", addr, err)
	}
	return answer, nil
}

// Listen accepts connections at addr.
func (t *Transport) Listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	l, err := t.listen(ctx, local.WithDefaults(), addr)
	if err != nil {
		return nil, t.failed("listen at", addr, err)
	}
	return l, nil
}

func (t *Transport) listen(ctx context.Context, local conn.Local, addr identity.Address) (*listener, error) {
	if addr.Scheme != t.network.Scheme {
		return nil, fmt.Errorf("not an address of this transport; want %s://", t.network.Scheme)
	}
	protocols := []string{ALPN}
	if t.network.Streams {
		protocols = append(protocols, StreamALPN)
	}
	config, err := config(local.Key, identity.NodeID{}, protocols...)
	if err != nil {
		return nil, err
	}
	if err := t.dials.count(); err != nil {
		return nil, err
	}
	defer t.dials.work.Done()
	nl, err := t.network.Listen(ctx, addr)
	if err != nil {
		return nil, err
	}
	l := &listener{
		Handshakes: NewHandshakes(local.MaxHandshakes),
		transport:  t, local: local, config: config, net: nl, addr: t.network.Address(nl.Addr()),
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		nl.Close()
		return nil, conn.ErrClosed
	}
	t.listeners[l] = struct{}{}
	l.loop.Go(l.run)
	return l, nil
}

// Close closes the listeners and ends pending dials. Connections live on.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	all := slices.Collect(maps.Keys(t.listeners))
	t.mu.Unlock()
	t.dials.Stop()
	var err error
	for _, l := range all {
		err = errors.Join(err, l.Close())
	}
	t.dials.Wait()
	return err
}
