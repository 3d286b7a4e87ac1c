package network_test

import (
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

func TestMessagesBothWays(t *testing.T) {
	b := newBench(t)
	pa, pb := newProbe(), newProbe()
	na, nb := b.with(1, pa), b.with(2, pb)
	connect(t, na, nb)
	ca, cb := get(t, pa.connected, "OnConnect of a"), get(t, pb.connected, "OnConnect of b")
	if ca.Node != nb.Self() || cb.Node != na.Self() || ca.Direction != conn.Outgoing || cb.Direction != conn.Incoming {
		t.Fatalf("connections %+v and %+v", ca, cb)
	}
	if err := pa.a.Send(router.ToConn(ca.ID), 1, []byte("direct")); err != nil {
		t.Fatal(err)
	}
	if err := pa.a.Send(router.ToNode(nb.Self()), 2, []byte("by node")); err != nil {
		t.Fatal(err)
	}
	if err := pb.a.Send(router.ToNode(na.Self()), 3, []byte("back")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"direct", "by node"} {
		if m := get(t, pb.received, want); m.text != want || m.From != na.Self() || m.Service != service || m.Hops != 1 || m.Conn != cb.ID {
			t.Errorf("b received %+v", m)
		}
	}
	if m := get(t, pa.received, "back"); m.text != "back" || m.From != nb.Self() {
		t.Errorf("a received %+v", m)
	}
	na.close()
	if err := get(t, pb.lost, "OnDisconnect of b"); conn.AsCloseError(err).Code != conn.CodeShutdown {
		t.Errorf("b lost the connection because of %v, want a shutdown", err)
	}
	get(t, pa.lost, "OnDisconnect of a")
}

// The table is told of round-trip times, and of changes worth telling.
func TestTableLearnsRoundTripTimes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		na, nb := b.with(1, newProbe()), b.with(2, newProbe())
		connect(t, na, nb)
		b.net.Stall(na.Self(), nb.Self())
		time.Sleep(6 * time.Second) // a probe is under way
		b.net.Heal(na.Self(), nb.Self())
		time.Sleep(time.Second)
		na.table.mu.RLock()
		rtt := na.table.rtt[nb.Self()]
		na.table.mu.RUnlock()
		if rtt < 100*time.Millisecond || rtt > 2*time.Second {
			t.Errorf("the table knows a round-trip time of %v", rtt)
		}
	})
}
