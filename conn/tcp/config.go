package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Timings of the kernel's own probes of silent connections.
const (
	defaultKeepAlive = 15 * time.Second
	keepAliveCount   = 3
)

// maxStreams bounds Config.Streams.
const maxStreams = 1 << 16

// A Config says how sockets are made. Its zero value is what [New] uses.
type Config struct {
	// Backlog is how many connections the system holds at most until they are
	// taken. They are taken at once; a small backlog tells a flood of dials
	// early. Default: the system's. The system may round it, and not every
	// system can change it.
	Backlog int
	// ReusePort sets SO_REUSEPORT on listening sockets, and on dialling ones
	// that Bind gives a port. Several listeners, of one process or of several
	// of the same user, may then listen at one address, and the system spreads
	// connections over them. When one of them closes, what the system had kept
	// for it is lost, unless that moves it (Linux: net.ipv4.tcp_migrate_req).
	// Default false. It is an error where the system has none.
	ReusePort bool
	// ReadBuffer and WriteBuffer are the sizes of the socket's buffers in
	// bytes; the system may round them. Default: the system's, which grow with
	// the need.
	ReadBuffer, WriteBuffer int
	// KeepAlive is after how much silence, and how often then, the system asks
	// a peer whether it is alive; after three questions without an answer the
	// connection breaks. Default 15 s; negative: never.
	KeepAlive time.Duration
	// Streams bounds the streams (conn.StreamConn) that the other end of an
	// accepted connection may have open at a time, those included that wait
	// for AcceptStream: at most 65536. Until AcceptStream is called for the
	// first time, 8 may wait, then 64, each for conn.Local.HandshakeTimeout,
	// and what waits counts towards conn.Local.MaxHandshakes. Negative: none.
	// Default 256.
	Streams int
	// Bind is the local address that is dialled from. Port 0 is any. Default:
	// as the system chooses.
	Bind netip.AddrPort
	// Control is called with every socket that this package makes, before it
	// is bound or connected, as in [net.Dialer]. Default: nothing.
	Control func(ctx context.Context, network, address string, c syscall.RawConn) error

	// Dial makes connections instead of this package, for example over a
	// SOCKS proxy, or on a socket of one's own. It gives up when ctx ends.
	// Bind, KeepAlive and Control are then its own affair. Streams are dialled
	// by it, too. Default: package net's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Listen makes listeners instead of this package, for example from a
	// socket that was inherited (net.FileListener). The transport closes them.
	// If somebody else closes one before, nothing more arrives, and what has
	// arrived is still handed out: a process that hands its listening socket
	// on to its successor loses no connection. Default: package net's.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)

	// Proxies are the addresses of balancers in front of the listeners. Each
	// connection must come from one of them and begin with a header of the
	// PROXY protocol, version 1 or 2, which tells where it really comes from;
	// others are refused. Do not list networks from which others, too, can
	// reach the listener: whoever is in here can name any address as theirs.
	// From its header on, a handshake counts to the host that the header tells.
	// Default: none, and no headers.
	Proxies []netip.Prefix
	// Refused is told of each connection that Proxies refuses, on a goroutine
	// of the connection's own: the address that it came from, and a
	// [*ProxyError]. Default: nobody is.
	Refused func(from net.Addr, err error)
}

func (c *Config) validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int
	}{{"Backlog", c.Backlog}, {"ReadBuffer", c.ReadBuffer}, {"WriteBuffer", c.WriteBuffer}} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("want 0 for the default or more in Config.%s, not %d", f.name, f.value))
		}
	}
	if c.Streams > maxStreams {
		errs = append(errs, fmt.Errorf("want at most %d in Config.Streams, not %d", maxStreams, c.Streams))
	}
	for _, p := range c.Proxies {
		if !p.IsValid() {
			errs = append(errs, errors.New("a prefix of Config.Proxies is not valid; make them with netip.ParsePrefix"))
			break
		}
	}
	if c.ReusePort && !canReusePort {
		errs = append(errs, fmt.Errorf("Config.ReusePort: %w on this system", errors.ErrUnsupported))
	}
	return errors.Join(errs...)
}

// keepAlive returns what package net wants to know; below zero: nothing at all.
func (c *Config) keepAlive() (time.Duration, net.KeepAliveConfig) {
	every := c.KeepAlive
	if every < 0 {
		return every, net.KeepAliveConfig{}
	}
	if every == 0 {
		every = defaultKeepAlive
	}
	return every, net.KeepAliveConfig{Enable: true, Idle: every, Interval: every, Count: keepAliveCount}
}

// control prepares a socket that this package makes.
func (s *sockets) control(ctx context.Context, network, address string, c syscall.RawConn) error {
	if s.config.ReusePort {
		if err := setReusePort(c); err != nil {
			return err
		}
	}
	if s.config.Control != nil {
		return s.config.Control(ctx, network, address, c)
	}
	return nil
}
