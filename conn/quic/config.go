package quic

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/conn"
)

// Defaults and limits of [Config].
const (
	idleTimeout = 30 * time.Second
	keepAlive   = 10 * time.Second
	window      = 6 << 20
	minWindow   = 16 << 10
	maxWindow   = 1 << 30
	streams     = 8
	maxStreams  = 1 << 16
)

// streamStart is what a stream may have under way before it is read: so much
// of the connection's window is set apart for each. The Conn begins with as much,
// which must suffice where the time to the other end is short, and windows hardly
// grow; and a peer that nobody knows yet may fill all of its streams, so there are
// few of them by default.
const streamStart = 128 << 10

// A Config is how a [Transport] works. The zero value is what [New] uses.
type Config struct {
	// IdleTimeout ends a connection over which nothing came for so long; the
	// shorter one of both ends holds. At least 1 s. Default 30 s.
	IdleTimeout time.Duration
	// KeepAlive is how often a packet goes over an idle connection, so that
	// it lives and NATs keep its mapping; at most half of IdleTimeout is used.
	// Negative: never. Default 10 s.
	KeepAlive time.Duration
	// Window bounds the bytes of the Conn, and of each stream, that have
	// arrived and are not read: 16 KiB to 1 GiB. Each begins with 128 KiB of
	// it, and gets more as it is read. All of a connection together hold at most
	// this and 128 KiB for each stream of Streams. Default 6 MiB.
	Window int
	// Streams bounds the streams (conn.StreamConn) that the other end of a
	// connection may have open at a time, those included that wait for
	// AcceptStream: at most 65536. While nobody accepts or reads, each costs
	// up to 128 KiB, and anybody who connects may open them: 1 MiB a connection
	// by default. Negative: none. Default 8.
	Streams int

	// LocalAddr is where dials go out that no listening socket serves, as
	// "IP:port"; an IPv6 zone may be given. Port 0 is any. Default: any
	// address and port.
	LocalAddr string
	// PacketConn, if set, is the only socket: dials go out of it, and Listen
	// listens on it, whatever address it is given. It belongs to the transport
	// from then on, and its read deadline must end a pending ReadFrom. A
	// *net.UDPConn is as fast as a socket of the transport's own; anything
	// else carries one packet per call.
	PacketConn net.PacketConn

	// NoGRO and NoGSO do without joined packets on receiving and on sending,
	// for systems where these are broken. They matter on Linux alone.
	NoGRO, NoGSO bool
}

// withDefaults returns c with its defaults, or says what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.IdleTimeout == 0 {
		c.IdleTimeout = idleTimeout
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = keepAlive
	}
	c.KeepAlive = max(0, c.KeepAlive)
	if c.Window == 0 {
		c.Window = window
	}
	if c.Streams == 0 {
		c.Streams = streams
	}
	switch {
	case c.IdleTimeout < time.Second:
		return c, fmt.Errorf("Config.IdleTimeout is %v; give 1 s or more, or 0 for %v", c.IdleTimeout, idleTimeout)
	case c.Window < minWindow || c.Window > maxWindow:
		return c, fmt.Errorf("Config.Window is %d; give %d to %d bytes, or 0 for %d", c.Window, minWindow, maxWindow, window)
	case c.Streams > maxStreams:
		return c, fmt.Errorf("Config.Streams is %d; give at most %d", c.Streams, maxStreams)
	case c.PacketConn != nil && c.LocalAddr != "":
		return c, errors.New("Config has both a LocalAddr and a PacketConn; give one of them")
	}
	if c.LocalAddr != "" {
		if _, err := localAddr(c.LocalAddr); err != nil {
			return c, fmt.Errorf("Config.LocalAddr: %w", err)
		}
	}
	return c, nil
}

// localAddr reads the address of a socket.
func localAddr(s string) (*net.UDPAddr, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not IP:port, such as 192.0.2.1:0: %w", s, err)
	}
	return net.UDPAddrFromAddrPort(ap), nil
}

// quic returns quic-go's configuration for a node. quic-go gives a handshake up
// after twice HandshakeIdleTimeout.
func (c Config) quic(local conn.Local) *quic.Config {
	perStream, inAll := uint64(min(c.Window, streamStart)), uint64(c.Window)
	if c.Streams > 0 {
		inAll += uint64(c.Streams) * perStream
	}
	return &quic.Config{
		HandshakeIdleTimeout: local.HandshakeTimeout / 2,
		MaxIdleTimeout:       c.IdleTimeout,
		KeepAlivePeriod:      c.KeepAlive,
		// The window of the connection does not grow: what streams hold that
		// are not read must leave room for the others from the beginning.
		InitialStreamReceiveWindow:     perStream,
		MaxStreamReceiveWindow:         uint64(c.Window),
		InitialConnectionReceiveWindow: inAll,
		MaxConnectionReceiveWindow:     inAll,
		MaxIncomingStreams:             int64(c.Streams),
		MaxIncomingUniStreams:          1,
		EnableDatagrams:                true,
	}
}
