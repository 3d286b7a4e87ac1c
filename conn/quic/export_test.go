package quic

import (
	"context"
	"net"
	"time"

	"github.com/plexus-net/plexus/conn"
)

// PlainSockets makes New's sockets go without UDP_GRO until restored.
func PlainSockets() (restore func()) {
	return WrapSockets(func(udp *net.UDPConn) net.PacketConn { return udp })
}

// WrapSockets has New's sockets wrapped until restored.
func WrapSockets(wrap func(*net.UDPConn) net.PacketConn) (restore func()) {
	old := wrapSocket
	wrapSocket = wrap
	return func() { wrapSocket = old }
}

// WaitNoHandshakes waits for one handshake to begin and for all to end.
func WaitNoHandshakes(ctx context.Context, cl conn.Listener) error {
	l := cl.(*listener)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begun := false; ; {
		n := int(l.silent.Load()) + l.Pending()
		if begun && n == 0 {
			return nil
		}
		begun = begun || n > 0
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
