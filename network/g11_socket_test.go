package network_test

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/faultproxy"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

// A talker is a counter whose numbers may be read while it counts.
type talker struct {
	*probe
	next, got atomic.Uint64
	loose     atomic.Uint64 // of those that may be lost, how many have come
}

func newTalker(t *testing.T) *talker {
	k := &talker{probe: newProbe()}
	seen := map[uint64]bool{}
	k.onMessage = func(_ *agent.Behavior, m *conn.Message) {
		n := binary.BigEndian.Uint64(m.Payload)
		if m.Kind == 2 {
			if seen[n] {
				t.Errorf("unreliable message %d came again", n)
			}
			seen[n] = true
			k.loose.Add(1)
			return
		}
		if n != k.got.Load() {
			t.Errorf("message %d came, want %d", n, k.got.Load())
		}
		k.got.Add(1)
	}
	return k
}

// chat sends numbers, each as a message and as one that may be lost, until ctx
// ends.
func (k *talker) chat(ctx context.Context, t *testing.T, to identity.ConnID) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		n := binary.BigEndian.AppendUint64(nil, k.next.Load())
		if err := k.a.SendMessage(agent.Outgoing{To: router.ToConn(to), Kind: 2, Payload: n, Unreliable: true}); err != nil {
			t.Error("unreliable:", err)
			return
		}
		if err := k.a.SendWait(context.WithoutCancel(ctx), router.ToConn(to), 1, n); err != nil {
			t.Error(err)
			return
		}
		k.next.Add(1)
		<-tick.C
	}
}

// until waits for a condition.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx := soon(t)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("waited in vain until ", what)
		}
	}
}

// Over real sockets, under traffic in both directions: UDP is blocked and the link
// goes on over TCP; UDP works again and it moves back to QUIC. Nothing is lost.
// When that happens is checked on virtual time, in TestG11MovesBack.
func TestG11MovesBackOverSockets(t *testing.T) {
	for _, ids := range [][2]byte{{1, 2}, {2, 1}} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			movesBackOverSockets(t, ids)
		})
	}
}

func movesBackOverSockets(t *testing.T, ids [2]byte) {
	pa, pb := newTalker(t), newTalker(t)
	prepare := func(c *network.Config) {
		c.Durable, c.Transports = true, []conn.Transport{quic.New(), tcp.New()}
		c.Limits.DialBackoff, c.Limits.DialBackoffMax, c.Limits.DialTime = 5*time.Millisecond, 200*time.Millisecond, time.Second
	}
	na, nb := newBench(t).host(ids[0], prepare), newBench(t).host(ids[1], prepare)
	register(t, na, service, pa.probe)
	register(t, nb, service, pb.probe)
	na.run("tcp://127.0.0.1:0")
	byTCP := nb.run("tcp://127.0.0.1:0").addr
	udp, err := nb.Listen(t.Context(), "quic://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	relay := faultproxy.UDP(t, udp.Host, 1)
	byQUIC := identity.Address{Scheme: "quic", Host: relay.Addr()}
	here, err := na.Connect(soon(t), identity.PeerAddress{ID: nb.Self(), Addresses: []identity.Address{byQUIC, byTCP}})
	if err != nil {
		t.Fatal(err)
	}
	there := get(t, pb.connected, "OnConnect of b")
	get(t, pa.connected, "OnConnect of a")
	until(t, "the link is on QUIC", na.isOn(byQUIC)) // the race may have been lost
	first := uint64(1 << 40)
	until(t, "a datagram comes", func() bool {
		first++
		if err := pa.a.SendMessage(agent.Outgoing{To: router.ToConn(here.ID), Kind: 2, Payload: binary.BigEndian.AppendUint64(nil, first), Unreliable: true}); err != nil {
			t.Fatal(err)
		}
		return pb.loose.Load() > 0
	})
	if s := na.State().Conns[0]; s.Renewals == 0 && s.MessagesSent != 0 {
		t.Errorf("%d messages went by the reliable path", s.MessagesSent)
	}

	ctx, hush := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	go func() { pa.chat(ctx, t, here.ID); done <- struct{}{} }()
	go func() { pb.chat(ctx, t, there.ID); done <- struct{}{} }()
	until(t, "datagrams come to both", more(pa, pb))
	relay.Blackhole()
	until(t, "the link is on TCP", na.isOn(byTCP))
	until(t, "unreliable messages come to both over TCP", more(pa, pb))
	relay.Heal()
	until(t, "the link is back on QUIC", na.isOn(byQUIC))
	until(t, "datagrams come to both again", more(pa, pb))
	hush()
	<-done
	<-done
	until(t, "all has come", func() bool { return pa.got.Load() == pb.next.Load() && pb.got.Load() == pa.next.Load() })
	s := na.State().Conns[0]
	if s.ID != here.ID || s.Renewals < 2 || len(pa.lost)+len(pb.lost)+len(pa.connected)+len(pb.connected) != 0 {
		t.Errorf("%+v; %d and %d OnDisconnect", s, len(pa.lost), len(pb.lost))
	}
	t.Logf("%d messages each way, %d unreliable ones came, %d renewals, %d dials", pa.next.Load(), pb.loose.Load(), s.Renewals, na.count("dials"))
}

// isOn returns whether the only link of the host is on a connection to an address.
func (h *host) isOn(addr identity.Address) func() bool {
	return func() bool {
		conns := h.State().Conns
		return len(conns) == 1 && conns[0].Remote == addr
	}
}

// more returns whether unreliable messages have come since to both.
func more(a, b *talker) func() bool {
	na, nb := a.loose.Load(), b.loose.Load()
	return func() bool { return a.loose.Load() > na+10 && b.loose.Load() > nb+10 }
}
