package tcp_test

import (
	"net"
	"testing"

	"go.uber.org/goleak"

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
			Stalled: func(t *testing.T, to identity.Address) { dialRaw(t, to) },
		}
	})
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
