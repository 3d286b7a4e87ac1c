package tcp

import (
	"context"
	"errors"
	"net"
	"syscall"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// A Transport makes TCP connections. It implements [conn.Transport] for the
// scheme "tcp", or "tcp+plain". Make one with [New], [NewWith] or [NewPlain].
type Transport struct {
	*secure.Transport
}

var _ conn.Transport = (*Transport)(nil)

// New returns a transport that listens nowhere yet.
func New() *Transport { return NewWith(Config{}) }

// NewWith is [New] with a configuration. If that is not valid, every Dial and
// Listen says so.
func NewWith(c Config) *Transport { return newTransport(c, "tcp", false) }

// NewPlain returns a transport for tcp+plain addresses: both ends prove their
// IDs when a connection opens, and nothing is encrypted. Who can change what is
// on the wire can say anything in the name of either end, and who can read it
// reads all. It has no streams.
func NewPlain(c Config) *Transport { return newTransport(c, "tcp+plain", true) }

func newTransport(c Config, scheme string, plain bool) *Transport {
	s := &sockets{config: c, invalid: c.validate()}
	n := secure.Network{
		Scheme:  scheme,
		Dial:    s.dial,
		Listen:  s.listen,
		Address: func(a net.Addr) identity.Address { return identity.Address{Scheme: scheme, Host: a.String()} },
		Plain:   plain,
		Streams: !plain, MaxStreams: c.Streams,
	}
	if len(c.Proxies) > 0 {
		n.Prepare = s.proxied
	}
	return &Transport{secure.NewTransport(n)}
}

// sockets makes sockets as its configuration says.
type sockets struct {
	config  Config
	invalid error
}

// hostPort returns what package net dials.
func hostPort(a identity.Address) (string, error) {
	if a.Host == "" || a.Path != "" {
		return "", errors.New("not the address of a socket; want " + a.Scheme + "://host:port")
	}
	return a.Host, nil
}

func (s *sockets) dial(ctx context.Context, addr identity.Address) (net.Conn, error) {
	host, err := hostPort(addr)
	if err = errors.Join(s.invalid, err); err != nil {
		return nil, err
	}
	dial := s.config.Dial
	if dial == nil {
		d := net.Dialer{ControlContext: s.control}
		d.KeepAlive, d.KeepAliveConfig = s.config.keepAlive()
		if b := s.config.Bind; b.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(b)
		}
		dial = d.DialContext
	}
	nc, err := dial(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	if nc == nil {
		return nil, errors.New("Config.Dial returned neither a connection nor an error")
	}
	if err := s.tune(nc); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}

func (s *sockets) listen(ctx context.Context, addr identity.Address) (net.Listener, error) {
	host, err := hostPort(addr)
	if err = errors.Join(s.invalid, err); err != nil {
		return nil, err
	}
	listen := s.config.Listen
	if listen == nil {
		lc := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
			return s.control(ctx, network, address, c)
		}}
		lc.KeepAlive, lc.KeepAliveConfig = s.config.keepAlive()
		listen = lc.Listen
	}
	nl, err := listen(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	if nl == nil {
		return nil, errors.New("Config.Listen returned neither a listener nor an error")
	}
	if n := s.config.Backlog; n > 0 {
		if err := setBacklog(nl, n); err != nil {
			nl.Close()
			return nil, err
		}
	}
	return &tuned{nl, s}, nil
}

// A tuned is a listener whose connections are as the configuration says.
type tuned struct {
	net.Listener
	sockets *sockets
}

func (l *tuned) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	_ = l.sockets.tune(nc) // fails only if the connection has broken, and then it is seen soon
	return nc, nil
}

// tune sets what can be set of any connection. Package net sends small writes
// at once by itself; it is said here because all latencies depend on it.
func (s *sockets) tune(nc net.Conn) error {
	tc, ok := nc.(interface {
		SetNoDelay(bool) error
		SetReadBuffer(int) error
		SetWriteBuffer(int) error
	})
	if !ok {
		return nil // a caller's own
	}
	err := tc.SetNoDelay(true)
	if n := s.config.ReadBuffer; n > 0 {
		err = errors.Join(err, tc.SetReadBuffer(n))
	}
	if n := s.config.WriteBuffer; n > 0 {
		err = errors.Join(err, tc.SetWriteBuffer(n))
	}
	return err
}
