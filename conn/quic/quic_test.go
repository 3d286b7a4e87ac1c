package quic_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn/conntest"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	conntest.Run(t, func(t *testing.T) conntest.Pair {
		// One socket is both: UDP does not refuse.
		silent := listenRaw(t)
		return conntest.Pair{
			Dialer: quic.New(), Listener: quic.New(), At: addr("127.0.0.1:0"), Sockets: "udp",
			Refused: silent, Silent: silent,
			Garbage: func(t *testing.T, to identity.Address, p []byte) {
				c, err := net.Dial("udp", to.Host)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := c.Write(p); err != nil {
					t.Error(err)
				}
			},
			Stalled: stalled,
		}
	})
}

func addr(host string) identity.Address { return identity.Address{Scheme: "quic", Host: host} }

func listenRaw(t *testing.T) identity.Address {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return addr(pc.LocalAddr().String())
}

// deaf is a socket that receives nothing.
type deaf struct {
	net.PacketConn
	sent chan struct{}
	once *sync.Once
}

func (d deaf) ReadFrom([]byte) (int, net.Addr, error) {
	buf := make([]byte, 2048)
	for {
		if n, a, err := d.PacketConn.ReadFrom(buf); err != nil {
			return n, a, err
		}
	}
}

func (d deaf) WriteTo(p []byte, a net.Addr) (int, error) {
	n, err := d.PacketConn.WriteTo(p, a)
	d.once.Do(func() { close(d.sent) })
	return n, err
}

// stalled sends the first packet of a handshake and hears no answer.
func stalled(t *testing.T, to identity.Address) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return
	}
	d := deaf{pc, make(chan struct{}), new(sync.Once)}
	tr := &quicgo.Transport{Conn: d}
	target, err := net.ResolveUDPAddr("udp", to.Host)
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	dialled := make(chan struct{})
	work.Go(func() {
		defer close(dialled)
		c := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{secure.ALPN}}
		patient := &quicgo.Config{HandshakeIdleTimeout: time.Minute}
		if _, err := tr.Dial(ctx, target, c, patient); err == nil {
			t.Error("the deaf has heard")
		}
	})
	t.Cleanup(func() {
		cancel()
		work.Wait()
		tr.Close()
		pc.Close()
	})
	select {
	case <-d.sent:
	case <-dialled:
		t.Error("the dial ended before it sent anything")
	}
}
