package network

import (
	"context"
	"testing"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/router"
)

// relay is a table that sends everything to one connection.
type relay struct{ to identity.ConnID }

func (r relay) PathToNode(identity.NodeID, identity.ConnID) router.Action {
	return router.Forward(r.to)
}
func (r relay) PathToKey(identity.Key, identity.ConnID) router.Action { return router.Forward(r.to) }
func (r relay) PathToService(identity.ServiceID, identity.ConnID) router.Action {
	return router.Forward(r.to)
}

func seeded(t *testing.T, n byte) identity.PrivateKey {
	t.Helper()
	seed := make([]byte, 32)
	seed[0] = n
	k, err := identity.PrivateKeyFromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// idle is a service that drops what it gets.
type idle struct{}

func (idle) OnMessage(*agent.Behavior, *conn.Message) {}

// linked returns a node with two links whose goroutines do not run, and the
// service 70 at both ends.
func linked(t *testing.T) (n *Node, in, out *link) {
	t.Helper()
	n, err := newNode(Config{Key: seeded(t, 1), Router: relay{2}}, env.Real{})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Register(70, idle{}); err != nil {
		t.Fatal(err)
	}
	net := mem.NewNetwork()
	var links []*link
	for i := byte(2); i < 4; i++ {
		tr := net.Transport()
		t.Cleanup(func() { tr.Close() })
		l, err := tr.Listen(t.Context(), conn.Local{Key: seeded(t, i)}, identity.Address{Scheme: "mem", Host: "x:0"})
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Transport().Dial(t.Context(), conn.Local{Key: seeded(t, 1)}, identity.NodeID{}, l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		h := &wire.Hello{MaxMessage: 1 << 20, RoutedWindow: 1 << 20, Services: []wire.Service{{Service: conn.Service{ID: 70, Name: "network.idle"}, Window: 1 << 20}}}
		ln, _, err := n.addLink(&candidate{c: c, dir: conn.Outgoing, peer: h})
		if err != nil {
			t.Fatal(err)
		}
		ln.turn.Lock()
		ln.setPeerServices(h.Services)
		ln.turn.Unlock()
		links = append(links, ln)
	}
	t.Cleanup(func() { n.cancel(context.Canceled) })
	return n, links[0], links[1]
}

// drained empties an outbox as its writer would.
func drained(l *link, s *slot) {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	l.out.data, l.out.control, s.credit = l.out.data[:0], l.out.control[:0], s.window
}

// Forwarding a message allocates nothing. See TestG9RoutedForwarding.
func TestG9ForwardingAllocatesNothing(t *testing.T) {
	_, in, out := linked(t)
	head := wire.Routed{Rule: router.RuleNode, TTL: 9, Hops: 2, Service: 70, Origin: seeded(t, 9).ID(), Target: seeded(t, 8).ID()}
	frame := append(wire.AppendRouted(nil, &head, 100), make([]byte, 100)...)
	before := in.n.count.forwarded.Load()
	const runs = 1000
	allocs := testing.AllocsPerRun(runs, func() {
		if _, _, err := in.process(frame); err != nil {
			t.Fatal(err)
		}
		drained(out, out.routed)
		drained(in, in.routed)
	})
	if allocs != 0 {
		t.Errorf("forwarding a message allocates %v times", allocs)
	}
	if n := in.n.count.forwarded.Load() - before; n != runs+1 {
		t.Errorf("%d messages were forwarded, want %d", n, runs+1)
	}
}

// Sending allocates nothing, whatever the route.
func TestSendingAllocatesNothing(t *testing.T) {
	n, _, out := linked(t)
	s := n.services()[70]
	payload := make([]byte, 100)
	for _, to := range []router.Route{router.ToConn(out.id), router.ToNode(out.node), router.ToNode(seeded(t, 9).ID()), router.ToKey(identity.Key{1}), router.ToConn(out.id).At(70)} {
		sl := out.find(70)
		allocs := testing.AllocsPerRun(1000, func() {
			if err := s.agent.Send(to, 1, payload); err != nil {
				t.Fatal(to, err)
			}
			drained(out, sl)
			drained(out, out.routed)
		})
		if allocs != 0 {
			t.Errorf("sending to %v allocates %v times", to, allocs)
		}
	}
}
