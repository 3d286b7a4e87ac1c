package kcp_test

import (
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn/conntest"
	"github.com/plexus-net/plexus/conn/kcp"
	"github.com/plexus-net/plexus/identity"
)

// kcp-go's scheduler of all sessions starts with the program and has no end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/xtaci/kcp-go/v5.(*TimedSched).sched"),
		goleak.IgnoreTopFunction("github.com/xtaci/kcp-go/v5.(*TimedSched).prepend"),
	)
}

func TestConformance(t *testing.T) {
	conntest.Run(t, func(t *testing.T) conntest.Pair {
		return conntest.Pair{
			Dialer: kcp.New(), Listener: kcp.New(), At: addr("127.0.0.1:0"), Sockets: "udp",
			Refused: refused(t), Silent: silent(t),
			Garbage: func(t *testing.T, to identity.Address, p []byte) { sendRaw(t, to, p) },
			Stalled: func(t *testing.T, to identity.Address) { newStranger(t, to).open(7) },
		}
	})
}

func addr(host string) identity.Address { return identity.Address{Scheme: "kcp", Host: host} }

func sendRaw(t *testing.T, to identity.Address, p []byte) {
	t.Helper()
	c, err := net.Dial("udp", to.Host)
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Write(p); err != nil {
		t.Error(err)
	}
}

// silent takes packets and says nothing.
func silent(t *testing.T) identity.Address {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return addr(c.LocalAddr().String())
}

func refused(t *testing.T) identity.Address {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	return addr(c.LocalAddr().String())
}
