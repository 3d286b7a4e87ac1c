package tcp_test

import (
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/conntest"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	conntest.Run(t, func(t *testing.T) conntest.Pair {
		return conntest.Pair{
			Dialer: tcp.New(), Listener: tcp.New(), At: addr("127.0.0.1:0"),
			Refused: refused(t), Silent: silent(t),
			Garbage: func(t *testing.T, to identity.Address, p []byte) {
				c := dialRaw(t, to)
				if _, err := c.Write(p); err != nil {
					t.Error(err)
				}
				c.Close()
			},
			Stalled: func(t *testing.T, to identity.Address) { dialRaw(t, to) }, Sockets: "tcp",
		}
	})
}

// TestPlainConformance runs the suite without TLS.
func TestPlainConformance(t *testing.T) {
	conntest.Run(t, func(t *testing.T) conntest.Pair {
		plain := func(a identity.Address) identity.Address { a.Scheme = "tcp+plain"; return a }
		return conntest.Pair{
			Dialer: tcp.NewPlain(tcp.Config{}), Listener: tcp.NewPlain(tcp.Config{}), At: plain(addr("127.0.0.1:0")),
			Refused: plain(refused(t)), Silent: plain(silent(t)),
			Garbage: func(t *testing.T, to identity.Address, p []byte) {
				c := dialRaw(t, to)
				if _, err := c.Write(p); err != nil {
					t.Error(err)
				}
				c.Close()
			},
			Stalled: func(t *testing.T, to identity.Address) { dialRaw(t, to) }, Sockets: "tcp",
		}
	})
}

// Nobody gets to speak plainly by accident: neither end understands the other.
func TestPlainAndSecuredDoNotMix(t *testing.T) {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	local := conn.Local{Key: key, HandshakeTimeout: 5 * time.Second}
	secured, plain := tcp.New(), tcp.NewPlain(tcp.Config{})
	defer secured.Close()
	defer plain.Close()
	for _, pair := range [][2]*tcp.Transport{{secured, plain}, {plain, secured}} {
		dialler, listener := pair[0], pair[1]
		l, err := listener.Listen(t.Context(), local, identity.Address{Scheme: listener.Schemes()[0], Host: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		at := l.Addr()
		if c, err := dialler.Dial(t.Context(), local, identity.NodeID{}, at); err == nil {
			c.Close(nil)
			t.Errorf("a %s transport dialled %s", dialler.Schemes()[0], at)
		}
		at.Scheme = dialler.Schemes()[0]
		if c, err := dialler.Dial(t.Context(), local, identity.NodeID{}, at); err == nil {
			c.Close(nil)
			t.Errorf("%s and %s have understood each other", dialler.Schemes()[0], listener.Schemes()[0])
		}
	}
}

func addr(host string) identity.Address { return identity.Address{Scheme: "tcp", Host: host} }

func dialRaw(t *testing.T, to identity.Address) net.Conn {
	c, err := net.Dial("tcp", to.Host)
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// silent listens in the kernel only.
func silent(t *testing.T) identity.Address {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return addr(l.Addr().String())
}

func refused(t *testing.T) identity.Address {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return addr(l.Addr().String())
}
