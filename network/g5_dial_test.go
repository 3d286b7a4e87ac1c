package network_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/router"
)

// greeter is a probe that sends some messages as soon as a connection opens.
func greeter(t *testing.T, n int) *probe {
	p := newProbe()
	p.onConnect = func(a *agent.Behavior, c conn.Info) behavior.Handler {
		for i := range n {
			if err := a.Send(router.ToConn(c.ID), 1, fmt.Append(nil, i)); err != nil {
				t.Error("sending from OnConnect:", err)
			}
		}
		return nil
	}
	return p
}

func TestG5SimultaneousDials(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testSimultaneousDials(t, false) })
	t.Run("durable", func(t *testing.T) { testSimultaneousDials(t, true) })
}

func testSimultaneousDials(t *testing.T, durable bool) {
	const rounds, messages = 300, 3
	b := newBench(t)
	b.durable = durable
	pa, pb := greeter(t, messages), greeter(t, messages)
	na, nb := b.with(1, pa), b.with(2, pb)
	for round := range rounds {
		var group sync.WaitGroup
		infos := make([]conn.Info, 2)
		for i, n := range []*host{na, nb} {
			group.Go(func() {
				var err error
				if infos[i], err = n.Connect(soon(t), []*host{nb, na}[i].peer()); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		group.Wait()
		ca, cb := get(t, pa.connected, "OnConnect of a"), get(t, pb.connected, "OnConnect of b")
		if ca.Node != nb.Self() || cb.Node != na.Self() || ca.Direction == cb.Direction || ca.Remote != cb.Local || ca.Local != cb.Remote {
			t.Fatalf("round %d: not the same connection: %+v and %+v", round, ca, cb)
		}
		if ca.ID != infos[0].ID || cb.ID != infos[1].ID {
			t.Fatalf("round %d: OnConnect told of %d and %d, Connect of %d and %d", round, ca.ID, cb.ID, infos[0].ID, infos[1].ID)
		}
		for i := range messages {
			for _, p := range []*probe{pa, pb} {
				if m := get(t, p.received, "a message"); m.text != fmt.Sprint(i) {
					t.Fatalf("round %d: message %q, want %d", round, m.text, i)
				}
			}
		}
		if sa, sb := na.State(), nb.State(); len(sa.Conns) != 1 || len(sb.Conns) != 1 {
			t.Fatalf("round %d: %d and %d connections", round, len(sa.Conns), len(sb.Conns))
		}
		if err := pa.a.Close(ca.ID, nil); err != nil {
			t.Fatal(err)
		}
		get(t, pa.lost, "OnDisconnect of a")
		get(t, pb.lost, "OnDisconnect of b")
		if len(pa.connected)+len(pb.connected)+len(pa.lost)+len(pb.lost) != 0 {
			t.Fatalf("round %d: a second connection opened", round)
		}
	}
	if na.count("conns_opened") != rounds || nb.count("conns_opened") != rounds {
		t.Errorf("%d and %d connections opened, want %d", na.count("conns_opened"), nb.count("conns_opened"), rounds)
	}
	if na.count("dial_errors")+nb.count("dial_errors") != 0 {
		t.Error("a dial was reported to have failed though its peer was connected")
	}
}

// A hundred dials at the same moment, of many nodes to each other.
func TestG5SimultaneousDialsOfMany(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testSimultaneousDialsOfMany(t, false) })
	t.Run("durable", func(t *testing.T) { testSimultaneousDialsOfMany(t, true) })
}

func testSimultaneousDialsOfMany(t *testing.T, durable bool) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		b.durable = durable
		const n = 8
		var hosts []*host
		var probes []*probe
		for i := range n {
			p := newProbe()
			probes = append(probes, p)
			hosts = append(hosts, b.with(byte(i+1), p))
		}
		var group sync.WaitGroup
		for _, x := range hosts {
			for _, y := range hosts {
				if x != y {
					group.Go(func() {
						if _, err := x.Connect(soon(t), y.peer()); err != nil {
							t.Error(err)
						}
					})
				}
			}
		}
		group.Wait()
		synctest.Wait()
		for i, h := range hosts {
			if c := h.State().Conns; len(c) != n-1 || len(probes[i].connected) != n-1 || len(probes[i].lost) != 0 {
				t.Errorf("node %d: %d connections, %d OnConnect, %d OnDisconnect", i, len(c), len(probes[i].connected), len(probes[i].lost))
			}
		}
	})
}

// A node that comes back with the same key and has forgotten its connection is
// let in, whichever of the two has the lower ID.
func TestG5RestartedNode(t *testing.T) {
	for _, swap := range []bool{false, true} {
		t.Run(fmt.Sprintf("swap=%v", swap), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t)
				x, y := byte(1), byte(2)
				if swap {
					x, y = y, x
				}
				pb := newProbe()
				nb := b.with(y, pb)
				b.opened(x, nb) // another instance, which vanishes without a word
				get(t, pb.connected, "the first connection")
				start := time.Now()
				pc := newProbe()
				nc := b.with(x, pc)
				connect(t, nc, nb)
				wantCode(t, get(t, pb.lost, "the end of the first connection"), conn.CodeReplaced)
				get(t, pb.connected, "the second connection")
				if d := time.Since(start); d > 100*time.Millisecond {
					t.Errorf("it took %v", d)
				}
				c := get(t, pc.connected, "OnConnect")
				if err := pc.a.Send(router.ToConn(c.ID), 1, []byte("back again")); err != nil {
					t.Fatal(err)
				}
				get(t, pb.received, "a message over the new connection")
				wantConns(t, nb, 1)
			})
		})
	}
}

// A connection that is dead at one end only is replaced when that end dials.
func TestG5HalfOpen(t *testing.T) {
	for _, swap := range []bool{false, true} {
		t.Run(fmt.Sprintf("swap=%v", swap), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t)
				k, other := byte(1), byte(2)
				if swap {
					k, other = other, k
				}
				p := newProbe()
				h := b.with(other, p)
				old := b.opened(k, h) // never answers a probe
				first := get(t, p.connected, "the first connection")
				fresh := b.raw(k, h)
				fresh.send(hello(func(h *wire.Hello) { h.Services = append(h.Services, probeService) }))
				fresh.want(wire.TypeHello)
				fresh.send(wire.AppendPrefix(nil, wire.TypeReady, 0))
				fresh.want(wire.TypeReady)
				wantCode(t, get(t, p.lost, "the end of the first connection"), conn.CodeReplaced)
				second := get(t, p.connected, "the second connection")
				if second.ID <= first.ID || second.Node != first.Node {
					t.Errorf("connections %+v and %+v", first, second)
				}
				if err := old.ended(); err == nil {
					t.Error("the old connection still works")
				}
				fresh.alive()
				wantConns(t, h, 1)
			})
		})
	}
}

// A second connection while the first is alive is refused, and costs nothing.
func TestG5SecondConnectionRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		low, high := byte(1), byte(2)
		if key(t, low).ID().Compare(key(t, high).ID()) > 0 {
			low, high = high, low
		}
		p := newProbe()
		h := b.with(low, p) // the side that chooses
		first := b.opened(high, h)
		get(t, p.connected, "the first connection")
		second := b.raw(high, h)
		second.send(hello())
		second.want(wire.TypeHello)
		second.send(wire.AppendPrefix(nil, wire.TypeReady, 0))
		first.pong()
		wantCode(t, second.goodbye(), conn.CodeReplaced)
		first.alive()
		if len(p.lost) != 0 || len(p.connected) != 0 {
			t.Error("the first connection was disturbed")
		}
	})
}

// Connect after Close waits for the end of the old connection.
func TestG5ConnectWhileClosing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa, pb := newProbe(), newProbe()
		na, nb := b.with(1, pa), b.with(2, pb)
		for range 50 {
			info := connect(t, na, nb)
			if err := pa.a.Send(router.ToConn(info.ID), 1, []byte("x")); err != nil {
				t.Fatal("Connect returned a connection that is closing:", err)
			}
			if err := pa.a.Close(info.ID, nil); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func wantConns(t testing.TB, h *host, n int) {
	t.Helper()
	if c := h.State().Conns; len(c) != n {
		t.Errorf("the node has %d connections, want %d", len(c), n)
	}
}

// While a link still ends at one end, both dial: what that end says on the later
// connection does not keep it from the earlier one, which it has agreed to open.
func TestG5DialsWhileALinkEnds(t *testing.T) {
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable=%v", durable), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t)
				b.durable = durable
				low, high := byte(1), byte(2)
				if key(t, low).ID().Compare(key(t, high).ID()) > 0 {
					low, high = high, low
				}
				pl, ph := newProbe(), newProbe()
				nl, nh := b.with(low, pl), b.with(high, ph)
				release := make(chan struct{})
				slow := newProbe()
				slow.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
					return &handler{onClose: func(*agent.Handler, error) { <-release }}
				}
				for h, p := range map[*host]*probe{nl: newProbe(), nh: slow} {
					if err := h.Register(service+1, p); err != nil {
						t.Fatal(err)
					}
				}
				c := connect(t, nl, nh)
				get(t, slow.connected, "the handler that ends slowly")
				if err := pl.a.Close(c.ID, nil); err != nil {
					t.Fatal(err)
				}
				get(t, pl.lost, "the end at the low end")
				get(t, ph.lost, "the end at the high end, but for its handler")
				var group sync.WaitGroup
				infos := make([]conn.Info, 2)
				for i, from := range []*host{nl, nh} { // the low end chooses the first
					group.Go(func() {
						var err error
						if infos[i], err = from.Connect(soon(t), []*host{nh, nl}[i].peer()); err != nil {
							t.Error(err)
						}
					})
					synctest.Wait()
				}
				close(release)
				group.Wait()
				synctest.Wait()
				for i, h := range []*host{nl, nh} {
					if s := h.State(); len(s.Conns) != 1 || s.Conns[0].ID != infos[i].ID || h.count("conns_opened") != 2 {
						t.Errorf("node %d has %+v and has opened %d, want the one of Connect, %d, and 2", i, s.Conns, h.count("conns_opened"), infos[i].ID)
					}
				}
			})
		})
	}
}
