package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// keepAlive lets the kernel find out about dead peers within a minute, where
// nothing above does so earlier.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3}

// Pauses after failed accepts, for example without file descriptors.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// A Transport makes TCP connections. It implements [conn.Transport] for the
// scheme "tcp". Make one with [New].
type Transport struct {
	ctx   context.Context // ends at Close
	stop  context.CancelCauseFunc
	dials sync.WaitGroup

	mu        sync.Mutex // guards what follows
	closed    bool
	listeners map[*listener]struct{}
}

var _ conn.Transport = (*Transport)(nil)

// New returns a transport that listens nowhere yet.
func New() *Transport {
	ctx, stop := context.WithCancelCause(context.Background())
	return &Transport{ctx: ctx, stop: stop, listeners: map[*listener]struct{}{}}
}

// Schemes returns "tcp".
func (t *Transport) Schemes() []string { return []string{"tcp"} }

// hostPort returns what package net dials.
func hostPort(a identity.Address) (string, error) {
	if a.Scheme != "tcp" || a.Host == "" || a.Path != "" {
		return "", errors.New("not a tcp address; want tcp://host:port")
	}
	return a.Host, nil
}

func address(a net.Addr) identity.Address {
	return identity.Address{Scheme: "tcp", Host: a.String()}
}

// Dial connects to the node at addr. Connecting and proving identities take at
// most local.HandshakeTimeout each.
func (t *Transport) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, fmt.Errorf("tcp: dial %s: %w", addr, conn.ErrClosed)
	}
	t.dials.Add(1)
	t.mu.Unlock()
	defer t.dials.Done()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.ctx, func() { cancel(context.Cause(t.ctx)) })()
	c, err := dial(ctx, local.WithDefaults(), peer, addr)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = cause // package net does not tell it
		}
		return nil, fmt.Errorf("tcp: dial %s: %w", addr, err)
	}
	return c, nil
}

func dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	host, err := hostPort(addr)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: local.HandshakeTimeout, KeepAliveConfig: keepAlive}
	nc, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	noDelay(nc)
	return secure.Client(ctx, nc, local, peer, address(nc.LocalAddr()), address(nc.RemoteAddr()))
}

// noDelay sends small writes at once. Package net does so by itself; it is
// said here because all latencies depend on it.
func noDelay(nc net.Conn) {
	if tc, ok := nc.(*net.TCPConn); ok {
		_ = tc.SetNoDelay(true) // fails only if the connection has broken
	}
}

// Listen accepts connections at addr.
func (t *Transport) Listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	l, err := t.listen(ctx, local.WithDefaults(), addr)
	if err != nil {
		return nil, fmt.Errorf("tcp: listen at %s: %w", addr, err)
	}
	return l, nil
}

func (t *Transport) listen(ctx context.Context, local conn.Local, addr identity.Address) (*listener, error) {
	host, err := hostPort(addr)
	if err != nil {
		return nil, err
	}
	if _, err := secure.Config(local.Key, identity.NodeID{}); err != nil {
		return nil, err
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	nl, err := lc.Listen(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	l := &listener{
		Handshakes: secure.NewHandshakes(local.MaxHandshakes),
		transport:  t, local: local, net: nl, addr: address(nl.Addr()),
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
	var all []*listener
	for l := range t.listeners {
		all = append(all, l)
	}
	t.mu.Unlock()
	t.stop(conn.ErrClosed)
	var err error
	for _, l := range all {
		err = errors.Join(err, l.Close())
	}
	t.dials.Wait()
	return err
}

// A listener is one listening socket.
type listener struct {
	*secure.Handshakes
	transport *Transport
	local     conn.Local
	net       net.Listener
	addr      identity.Address
	loop      sync.WaitGroup
	close     sync.Once
	closeErr  error
}

// run takes connections until Close.
func (l *listener) run() {
	pause := minPause
	for {
		nc, err := l.net.Accept()
		if err == nil {
			pause = minPause
			l.handle(nc)
			continue
		}
		// No file descriptors, say: wait a little, and tell who asks.
		wait := make(chan struct{})
		timer := time.AfterFunc(pause, func() { close(wait) })
		goOn := l.Fail(fmt.Errorf("tcp: accept at %s: %w", l.addr, err), wait)
		if goOn {
			select {
			case <-wait:
			case <-l.Done():
				goOn = false
			}
		}
		timer.Stop()
		if !goOn {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

func (l *listener) handle(nc net.Conn) {
	noDelay(nc)
	started := l.Go(func(ctx context.Context) (conn.Conn, error) {
		return secure.Server(ctx, nc, l.local, address(nc.LocalAddr()), address(nc.RemoteAddr()))
	})
	if !started {
		nc.Close()
	}
}

// Addr returns the address listened on.
func (l *listener) Addr() identity.Address { return l.addr }

// Close stops listening, ends handshakes and waits until they have ended.
func (l *listener) Close() error {
	l.close.Do(func() {
		l.Handshakes.Close() // first, so that Accept does not see the socket's error
		l.closeErr = l.net.Close()
		l.loop.Wait()
		l.transport.mu.Lock()
		delete(l.transport.listeners, l)
		l.transport.mu.Unlock()
	})
	return l.closeErr
}
