package quic

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/plexus-net/plexus/conn"
)

// WaitNoHandshakes waits for one handshake to begin and for all to end.
func WaitNoHandshakes(ctx context.Context, cl conn.Listener) error {
	l := cl.(*listener)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begun := false; ; {
		n := l.greetings.Silent() + l.Pending()
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

// UDPAddr returns where packets of a dialled connection come from on this
// machine, which LocalAddr does not tell of a socket at any address.
func UDPAddr(c conn.Conn) string {
	at := c.(*connection).socket.addr
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(at.Port))
}

// Silent returns how many incoming connections have not said hello.
func Silent(l conn.Listener) int { return l.(*listener).greetings.Silent() }

// Sockets returns how many sockets a transport has, those included that were left.
func Sockets(t *Transport) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sockets)
}
