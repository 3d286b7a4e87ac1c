package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// Pauses after failed accepts, for example without file descriptors.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
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
	pause := minPause
	for {
		nc, err := l.net.Accept()
		if err == nil {
			pause = minPause
			l.handle(nc)
			continue
		}
		if errors.Is(err, net.ErrClosed) || !l.pause(err, pause) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// pause waits after a failed accept, and tells who asks. It reports whether to
// go on.
func (l *listener) pause(err error, pause time.Duration) bool {
	wait := make(chan struct{})
	timer := time.AfterFunc(pause, func() { close(wait) })
	defer timer.Stop()
	if !l.Fail(fmt.Errorf("%s: accept at %s: %w", l.transport.network.Scheme, l.addr, err), wait) {
		return false
	}
	select {
	case <-wait:
		return true
	case <-l.Done():
		return false
	}
}

func (l *listener) handle(nc net.Conn) {
	if !l.Go(func(ctx context.Context) (conn.Conn, error) { return l.shake(ctx, nc) }) {
		nc.Close()
	}
}

// shake makes a connection of nc. If it was a stream, which then has its
// connection already, it returns nil.
func (l *listener) shake(ctx context.Context, nc net.Conn) (conn.Conn, error) {
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
	c := &streamed{own: own, registry: &t.registry, secured: secured{base: base{local: here, remote: there}}}
	protocol, err := c.start(ctx, nc, l.local, l.config, tls.Server)
	if err != nil {
		return nil, err
	}
	if protocol == StreamALPN {
		s := &stream{own: own, tls: secured{base: base{node: c.node, local: here, remote: there}, wire: c.wire, tls: c.tls}}
		ctx, cancel := context.WithTimeout(ctx, l.local.HandshakeTimeout)
		defer cancel()
		return nil, t.registry.join(ctx, s)
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
