package quic_test

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/identity"
)

// A hole is a socket that can stop to hear anything.
type hole struct {
	net.PacketConn
	deaf *atomic.Bool
}

func (h hole) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		if n, a, err := h.PacketConn.ReadFrom(p); err != nil || !h.deaf.Load() {
			return n, a, err
		}
	}
}

// Who sends datagrams never waits, not even when nothing gets through.
func TestSendDatagramDoesNotWait(t *testing.T) {
	var deaf atomic.Bool
	ends := [2]conn.Local{}
	for i := range ends {
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		ends[i].Key = key
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client := quic.NewWith(quic.Config{PacketConn: hole{udp, &deaf}})
	server := quic.New()
	defer server.Close()
	defer client.Close()
	l, err := server.Listen(t.Context(), ends[0], addr("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), ends[1], ends[0].Key.ID(), l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(nil)
	deaf.Store(true)
	sent := make(chan error, 1)
	go func() {
		for range 2000 {
			if err := c.(conn.DatagramConn).SendDatagram(make([]byte, 1000)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	select {
	case err := <-sent:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a sender of datagrams waits")
	}
	if err := c.(conn.DatagramConn).SendDatagram(make([]byte, 64<<10)); err == nil {
		t.Error("a datagram of 64 KiB was taken, want an error that says what fits")
	}
}
