package quic

import (
	"context"
	"net"
	"time"

	"github.com/plexus-net/plexus/conn"
)

// PlainSockets makes New's sockets go without UDP_GRO until restored.
func PlainSockets() (restore func()) {
	old := wrapSocket
	wrapSocket = func(udp *net.UDPConn) net.PacketConn { return udp }
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
