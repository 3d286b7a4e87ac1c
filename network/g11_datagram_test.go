package network_test

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

// A tardy connection sends datagrams twice, and keeps those that have arrived until
// they are let go, even beyond its end.
type tardy struct {
	conn.DatagramConn
	held chan struct{} // closed: they are let go
}

func (c *tardy) SendDatagram(p []byte) error {
	if err := c.DatagramConn.SendDatagram(p); err != nil {
		return err
	}
	return c.DatagramConn.SendDatagram(p)
}

func (c *tardy) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	p, err := c.DatagramConn.ReceiveDatagram(ctx)
	if err == nil {
		<-c.held
	}
	return p, err
}

// sendLoose sends numbers from first to last that may be lost.
func (x *crossing) sendLoose(first, last uint64) {
	x.t.Helper()
	for n := first; n <= last; n++ {
		o := agent.Outgoing{To: router.ToConn(x.here.ID), Kind: 2, Payload: binary.BigEndian.AppendUint64(nil, n), Unreliable: true}
		if err := x.pa.a.SendMessage(o); err != nil {
			x.t.Errorf("datagram %d: %v", n, err)
		}
		synctest.Wait() // b listens once it has been told of datagrams
	}
}

// came checks which have come to b.
func (x *crossing) came(when string, want ...uint64) {
	x.t.Helper()
	synctest.Wait()
	if !slices.Equal(x.pb.loose, want) {
		x.t.Errorf("%s: %v came, want %v", when, x.pb.loose, want)
	}
}

// Unreliable messages of a durable connection go as datagrams of what carries it at
// the moment: those that are repeated, or come late on what has carried it, are
// dropped, and so are those that are sent while there is nothing.
func TestG11Datagrams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		held := make(chan struct{})
		x := newWrappedCrossing(t, false, func(c conn.Conn) conn.Conn { return &tardy{c.(conn.DatagramConn), held} })
		x.sendLoose(1, 5)
		if s := x.na.State().Conns[0]; s.PacketsSent != 10 || s.MessagesSent != 0 {
			t.Errorf("%d datagrams and %d other messages were sent, want 10 and none", s.PacketsSent, s.MessagesSent)
		}
		x.came("while they are held")
		x.block(true)
		x.talk(4 * time.Second)
		x.on("blocked", "second", 1)
		x.sendLoose(6, 8)
		x.came("on the second connection", 6, 7, 8)
		close(held) // one had been taken from the first
		x.came("a late one has arrived", 6, 7, 8)
		if n := x.nb.count("datagrams_dropped"); n != 1 {
			t.Errorf("%d were dropped by b, want the late one", n)
		}
		x.block(false)
		x.talk(10 * time.Second)
		x.on("healed", "first", 2)
		x.sendLoose(9, 10)
		x.came("back on the first network", 6, 7, 8, 9, 10)
		if n := x.nb.count("datagrams_dropped"); n != 3 {
			t.Errorf("%d were dropped by b, want those that came twice, too", n)
		}

		x.net.Stall(x.na.Self(), x.nb.Self())
		x.block(true)
		x.talk(5 * time.Second)
		x.sendLoose(11, 12)
		if n := x.na.count("datagrams_dropped"); n != 2 {
			t.Errorf("%d were dropped by a, want those that were sent while it was on no connection", n)
		}
		x.net.Heal(x.na.Self(), x.nb.Self())
		x.block(false)
		x.arrived()
		x.came("after a break", 6, 7, 8, 9, 10)
		x.sendLoose(13, 13)
		x.came("mended", 6, 7, 8, 9, 10, 13)
	})
}

// Where what carries the connection has no datagrams, or the message does not fit,
// it goes by the reliable path.
func TestG11WithoutDatagrams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := newWrappedCrossing(t, true, func(c conn.Conn) conn.Conn { return &struct{ conn.Conn }{c} })
		x.sendLoose(1, 3)
		x.came("on a connection without datagrams", 1, 2, 3)
		if n := x.na.State().Conns[0].MessagesSent; n != 3 {
			t.Errorf("%d messages went by the reliable path, want 3", n)
		}
		x.first.Cut(x.na.Self(), x.nb.Self())
		x.on("cut", "second", 1) // no time has passed
		x.sendLoose(4, 4)
		large := binary.BigEndian.AppendUint64(nil, 5)
		large = append(large, make([]byte, 1200-8)...) // with its header it is larger than a datagram
		if err := x.pa.a.SendMessage(agent.Outgoing{To: router.ToConn(x.here.ID), Kind: 2, Payload: large, Unreliable: true}); err != nil {
			t.Error(err)
		}
		x.came("on one with datagrams", 1, 2, 3, 4, 5)
		if s := x.na.State().Conns[0]; s.MessagesSent != 4 || s.PacketsSent != 1 {
			t.Errorf("%d messages and %d datagrams were sent, want 4 and 1", s.MessagesSent, s.PacketsSent)
		}
		x.first.Heal(x.na.Self(), x.nb.Self())
		time.Sleep(time.Second) // it does not dial in step with a connection that breaks at once
		x.net.Cut(x.na.Self(), x.nb.Self())
		x.on("cut again", "first", 2)
	})
}
