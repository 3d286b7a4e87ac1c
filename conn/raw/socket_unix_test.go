//go:build unix && !solaris && !illumos

package raw_test

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/raw"
)

// sockopt returns an option of a socket.
func sockopt(t *testing.T, s net.Conn, name int) (value int) {
	t.Helper()
	rc, err := s.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := rc.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, name) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return value
}

// The sockets of both directions have the buffers of the configuration. Linux
// reports twice of what it was told.
func TestSocketBuffersAreSet(t *testing.T) {
	const read, write = 20 << 10, 12 << 10
	config := raw.Config{SocketReadBuffer: read, SocketWriteBuffer: write}
	a, addr := listen(t, &hooks{}, config)
	c := connect(t, start(t, &hooks{}, config), addr)
	for name, s := range map[string]net.Conn{"dialled": c.Stream(), "accepted": only(t, a).Stream()} {
		if got := sockopt(t, s, syscall.SO_RCVBUF); got != read && got != 2*read {
			t.Errorf("%s: SO_RCVBUF is %d, want %d or twice that", name, got, read)
		}
		if got := sockopt(t, s, syscall.SO_SNDBUF); got != write && got != 2*write {
			t.Errorf("%s: SO_SNDBUF is %d, want %d or twice that", name, got, write)
		}
	}
}

// The system holds as many connections as it was told for a node that does not
// accept, and no more.
func TestBacklogIsSet(t *testing.T) {
	const many = 20
	for _, tt := range []struct {
		name    string
		backlog int
		refuses bool
		patient time.Duration
	}{{"one", 1, true, 50 * time.Millisecond}, {"the system's", 0, false, patience}} {
		t.Run(tt.name, func(t *testing.T) {
			shaking := make(chan struct{}, 1)
			h := &hooks{handshake: func(ctx context.Context, s net.Conn, d conn.Direction) (net.Conn, error) {
				shaking <- struct{}{}
				return stall(ctx, s, d)
			}}
			// One is in its handshake and one waits, so that nothing more is accepted.
			_, addr := listen(t, h, raw.Config{Backlog: tt.backlog, MaxPending: 1, MaxPerPrefix: -1, HandshakeTimeout: -1})
			refused := false
			for i := range many {
				c, err := net.DialTimeout("tcp", addr, tt.patient)
				if err != nil {
					refused = true
					break // the others would be, too
				}
				defer c.Close()
				if i == 0 {
					wait(t, shaking, "the handshake")
				}
			}
			if refused != tt.refuses {
				t.Errorf("of %d connections some are refused: %t, want %t", many, refused, tt.refuses)
			}
		})
	}
	u := start(t, nil, raw.Config{Network: "unix", Address: t.TempDir() + "/s", Backlog: 5})
	if _, err := u.Listen(t.Context()); err != nil {
		t.Error(err)
	}
}
