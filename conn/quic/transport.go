package quic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// Timings and limits.
const (
	idleTimeout = 30 * time.Second
	keepAlive   = 10 * time.Second
	maxWindow   = 6 << 20 // bytes received and not read, per connection
	maxTries    = 4       // addresses of one host name that a dial tries
)

// A Transport makes QUIC connections. It implements [conn.Transport] for the
// scheme "quic". Make one with [New].
type Transport struct {
	ctx   context.Context // ends at Close
	stop  context.CancelCauseFunc
	dials sync.WaitGroup
	work  sync.WaitGroup // goroutines that follow connections

	mu      sync.Mutex // guards what follows, and the sockets
	closed  bool
	sockets map[*socket]struct{}
}

var _ conn.Transport = (*Transport)(nil)

// New returns a transport that has no socket yet.
func New() *Transport {
	quietOnce.Do(quiet)
	ctx, stop := context.WithCancelCause(context.Background())
	return &Transport{ctx: ctx, stop: stop, sockets: map[*socket]struct{}{}}
}

var quietOnce sync.Once

// quiet keeps quic-go from printing to the standard logger that the socket
// buffers of the system are small; it has no other switch.
func quiet() {
	const name = "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING"
	if _, ok := os.LookupEnv(name); !ok {
		_ = os.Setenv(name, "true") // then it prints
	}
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
	if u, ok := a.(*net.UDPAddr); ok {
		ap := u.AddrPort()
		return identity.Address{Scheme: "quic", Host: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()}
	}
	return identity.Address{Scheme: "quic", Host: a.String()}
}

// config returns quic-go's configuration for a node. quic-go gives a handshake
// up after twice HandshakeIdleTimeout.
func config(local conn.Local) *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:       local.HandshakeTimeout / 2,
		MaxIdleTimeout:             idleTimeout,
		KeepAlivePeriod:            keepAlive,
		MaxStreamReceiveWindow:     maxWindow,
		MaxConnectionReceiveWindow: maxWindow,
		MaxIncomingStreams:         -1,
		MaxIncomingUniStreams:      1,
		EnableDatagrams:            true,
	}
}

// Dial connects to the node at addr, within local.HandshakeTimeout. UDP does not
// tell that nobody listens: that takes the whole time. If the host is a name
// with several addresses, they are tried one after the other and share it.
func (t *Transport) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, fmt.Errorf("quic: dial %s: %w", addr, conn.ErrClosed)
	}
	t.dials.Add(1)
	t.mu.Unlock()
	defer t.dials.Done()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.ctx, func() { cancel(context.Cause(t.ctx)) })()
	c, err := t.dial(ctx, local.WithDefaults(), peer, addr)
	if err != nil {
		return nil, fmt.Errorf("quic: dial %s: %w", addr, err)
	}
	return c, nil
}

func (t *Transport) dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (*connection, error) {
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
	targets, err := resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	share := local.HandshakeTimeout / time.Duration(len(targets))
	for _, target := range targets {
		var c *connection
		tryCtx, cancelTry := context.WithTimeout(ctx, share)
		c, err = t.dialOne(tryCtx, target, func(s *socket) (*quic.Conn, error) {
			return s.quic.Dial(tryCtx, target, tls, config(local))
		})
		cancelTry()
		if err == nil {
			return c, nil
		}
		var wrong *conn.WrongNodeError
		if errors.As(err, &wrong) || ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func (t *Transport) dialOne(ctx context.Context, target *net.UDPAddr, dial func(*socket) (*quic.Conn, error)) (*connection, error) {
	s, err := t.socketFor(target)
	if err != nil {
		return nil, err
	}
	defer s.release()
	qc, err := dial(s)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, mapError(err)
	}
	return s.newConn(qc)
}

// resolve returns the socket addresses that host:port stands for.
func resolve(ctx context.Context, hostPort string) ([]*net.UDPAddr, error) {
	host, portText, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	if host == "" { // this machine, as for TCP
		host = "127.0.0.1"
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("%s has no address", host)
	}
	if len(ips) > maxTries {
		ips = ips[:maxTries]
	}
	targets := make([]*net.UDPAddr, len(ips))
	for i, ip := range ips {
		targets[i] = net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return targets, nil
}

// Listen accepts connections at addr. The socket also serves dials.
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
	t.stop(conn.ErrClosed)
	for _, l := range listeners {
		l.Close()
	}
	t.dials.Wait()

	t.mu.Lock()
	var conns []*connection
	for s := range t.sockets {
		for c := range s.conns {
			conns = append(conns, c)
		}
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.Close(&conn.CloseError{Code: conn.CodeShutdown})
	}
	t.work.Wait()

	t.mu.Lock()
	var sockets []*socket
	for s := range t.sockets {
		sockets = append(sockets, s)
	}
	clear(t.sockets)
	t.mu.Unlock()
	var err error
	for _, s := range sockets {
		err = errors.Join(err, s.close())
	}
	return err
}
