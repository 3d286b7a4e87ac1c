package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A listener is one listening socket of a Transport.
type listener struct {
	*Handshakes
	transport *Transport
	local     conn.Local
	config    *tls.Config
	net       net.Listener
	addr      identity.Address
	loop      sync.WaitGroup
	close     sync.Once
	closeErr  error
}

// run takes connections until Close, or until the caller of the transport has
// closed the net.Listener beneath.
func (l *listener) run() {
	l.take(l.net, fmt.Sprintf("%s: accept at %s", l.transport.network.Scheme, l.addr), l.shake)
}

// shake makes a connection of nc. If it was a stream, which then has its
// connection already, it returns nil.
func (l *listener) shake(ctx context.Context, nc net.Conn, p *place) (conn.Conn, error) {
	t := l.transport
	if t.network.Prepare != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.local.HandshakeTimeout)
		defer cancel()
		prepared, err := t.network.Prepare(ctx, nc)
		if err != nil {
			nc.Close()
			return nil, err
		}
		nc = prepared
		l.move(p, nc.RemoteAddr())
	}
	here, there := t.network.Address(nc.LocalAddr()), t.network.Address(nc.RemoteAddr())
	switch {
	case t.network.Plain:
		return PlainServer(ctx, nc, l.local, here, there)
	case !t.network.Streams:
		return Server(ctx, nc, l.local, here, there)
	}
	return l.shakeStreamed(ctx, nc, here, there)
}

func (l *listener) shakeStreamed(ctx context.Context, nc net.Conn, here, there identity.Address) (conn.Conn, error) {
	t, own := l.transport, l.local.Key.ID()
	c := &streamed{own: own, registry: &t.registry, most: t.network.MaxStreams, secured: secured{base: base{local: here, remote: there}}}
	protocol, err := c.start(ctx, nc, l.local, l.config, tls.Server)
	if err != nil {
		return nil, err
	}
	if protocol == StreamALPN {
		s := &stream{own: own, left: make(chan struct{}), tls: secured{base: base{node: c.node, local: here, remote: there}, wire: c.wire, tls: c.tls}}
		return nil, t.registry.join(ctx, s, l.local.HandshakeTimeout)
	}
	if c.most < 0 {
		return c, nil
	}
	if c.token, err = tokenOf(c.tls); err != nil {
		nc.Close()
		return nil, err
	}
	t.registry.add(c)
	return c, nil
}

// Addr returns the address listened on.
func (l *listener) Addr() identity.Address { return l.addr }

// Close stops listening, ends handshakes and waits until they have ended.
func (l *listener) Close() error {
	l.close.Do(func() {
		l.Handshakes.Close() // first, so that Accept does not see the socket's error
		l.closeErr = l.net.Close()
		if errors.Is(l.closeErr, net.ErrClosed) {
			l.closeErr = nil
		}
		l.loop.Wait()
		l.transport.mu.Lock()
		delete(l.transport.listeners, l)
		l.transport.mu.Unlock()
	})
	return l.closeErr
}
