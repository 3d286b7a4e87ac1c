package network_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// star is a node with some neighbours, of which the last lacks the service.
func star(t *testing.T, b *bench, neighbours int) (hub *host, p *probe, hosts []*host, probes []*probe) {
	p = newProbe()
	hub = b.with(1, p)
	for i := range neighbours {
		q := newProbe()
		h := b.host(byte(i + 2))
		id := service
		if i == neighbours-1 {
			id = 71
		}
		register(t, h, id, q)
		h.run("mem://neighbour" + string(rune('a'+i)))
		hosts, probes = append(hosts, h), append(probes, q)
		connect(t, hub, h)
	}
	synctest.Wait()
	return hub, p, hosts, probes
}

// counts empties the probes and returns how many messages each had.
func counts(probes []*probe) []int {
	synctest.Wait()
	var out []int
	for _, p := range probes {
		out = append(out, len(p.received))
		for len(p.received) > 0 {
			<-p.received
		}
	}
	return out
}

func TestBroadcast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		_, p, hosts, probes := star(t, b, 6)
		if n := len(p.a.Conns()); n != 5 {
			t.Errorf("the behaviour sees %d connections, want those 5 whose node has the service", n)
		}
		if n := p.a.Broadcast(1, []byte("all")); n != 5 {
			t.Errorf("Broadcast went to %d, want 5", n)
		}
		if got := counts(probes); !slices.Equal(got, []int{1, 1, 1, 1, 1, 0}) {
			t.Errorf("received: %v", got)
		}
		to := []identity.NodeID{hosts[3].Self(), hosts[1].Self(), hosts[1].Self(), hosts[5].Self(), key(t, 99).ID()}
		if n := p.a.BroadcastTo(to, 1, nil); n != 2 {
			t.Errorf("BroadcastTo went to %d, want 2", n)
		}
		if got := counts(probes); !slices.Equal(got, []int{0, 1, 0, 1, 0, 0}) {
			t.Errorf("received: %v", got)
		}
		hit := make([]int, 6)
		for n := -1; n < 8; n++ {
			for range 20 {
				want := min(max(n, 0), 5)
				if sent := p.a.BroadcastRandom(n, 1, nil); sent != want {
					t.Fatalf("BroadcastRandom(%d) went to %d, want %d", n, sent, want)
				}
				total := 0
				for i, c := range counts(probes) {
					if c > 1 {
						t.Fatalf("BroadcastRandom(%d) reached one node %d times", n, c)
					}
					total += c
					hit[i] += c
				}
				if total != want {
					t.Fatalf("BroadcastRandom(%d) arrived at %d", n, total)
				}
			}
		}
		if hit[5] != 0 || slices.Min(hit[:5]) < 20*2 {
			t.Errorf("nodes were drawn %v times", hit)
		}
	})
}

// A connection that was admitted for reading only is not written to until a
// behaviour authorises it; it can be read from the first.
func TestReadOnlyConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p, q, other := newProbe(), newProbe(), newProbe()
		p.admit = func(_ *agent.Behavior, c conn.Peer) error {
			if c.Direction == conn.Incoming {
				return conn.ErrReadOnly
			}
			return nil
		}
		h, writable, reader := b.with(1, p), b.with(2, other), b.with(3, q)
		connect(t, h, writable)
		connect(t, reader, h)
		get(t, p.connected, "the writable connection")
		c := get(t, p.connected, "the read-only connection")
		cq := get(t, q.connected, "the other end")
		synctest.Wait()
		ways := map[string]router.Route{"connection": router.ToConn(c.ID), "another service": router.ToConn(c.ID).At(70)}
		for what, to := range ways {
			if err := p.a.Send(to, 1, nil); !errors.Is(err, conn.ErrReadOnly) {
				t.Errorf("Send by %s: %v, want ErrReadOnly", what, err)
			}
		}
		if err := p.a.SendMessage(agent.Outgoing{To: router.ToConn(c.ID), Unreliable: true}); !errors.Is(err, conn.ErrReadOnly) {
			t.Errorf("an unreliable Send: %v, want ErrReadOnly", err)
		}
		if err := p.a.Send(router.ToNode(reader.Self()), 1, nil); err == nil {
			t.Error("Send by node worked")
		}
		if n := p.a.Broadcast(1, nil); n != 1 {
			t.Errorf("Broadcast went to %d, want 1", n)
		}
		if n := p.a.BroadcastRandom(2, 1, nil); n != 1 {
			t.Errorf("BroadcastRandom went to %d, want 1", n)
		}
		if err := q.a.Send(router.ToConn(cq.ID), 1, []byte("to the reader")); err != nil {
			t.Fatal(err)
		}
		if m := get(t, p.received, "a message over the read-only connection"); m.text != "to the reader" {
			t.Errorf("received %q", m.text)
		}
		if s, ok := p.a.Stats(c.ID); !ok || !s.ReadOnly {
			t.Errorf("stats: %+v", s)
		}
		synctest.Wait()
		if len(q.received) != 0 {
			t.Error("something was written to the read-only connection")
		}
		for range 2 {
			if err := p.a.Authorize(c.ID); err != nil {
				t.Fatal(err)
			}
		}
		for _, to := range []router.Route{router.ToConn(c.ID), router.ToNode(reader.Self())} {
			if err := p.a.Send(to, 1, nil); err != nil {
				t.Errorf("Send to %v after Authorize: %v", to, err)
			}
			get(t, q.received, "a message after Authorize")
		}
		if n := p.a.Broadcast(1, nil); n != 2 {
			t.Errorf("Broadcast after Authorize went to %d, want 2", n)
		}
		if err := p.a.Authorize(99); !errors.Is(err, agent.ErrNoConn) {
			t.Errorf("Authorize of no connection: %v", err)
		}
	})
}

// The first refusal of Admit wins, and reaches the peer as text.
func TestAdmit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		why := errors.New("not today")
		q := newProbe()
		q.admit = func(_ *agent.Behavior, c conn.Peer) error {
			if len(c.Services) != 3 || c.Services[0].Name != "probe" || c.Remote.Scheme != "mem" {
				t.Errorf("asked about %+v", c)
			}
			return nil
		}
		h := b.host(1)
		for i, verdict := range []error{conn.ErrReadOnly, why, nil} {
			p := newProbe()
			p.admit = func(_ *agent.Behavior, c conn.Peer) error {
				j.add("%d %s %s", i, c.Direction, c.Node.Short())
				return verdict
			}
			register(t, h, service+identity.ServiceID(i), p)
		}
		h.run("mem://a")
		caller := b.with(2, q)
		_, err := caller.Connect(soon(t), h.peer())
		wantCode(t, err, conn.CodeRejected)
		var ce *conn.CloseError
		if !errors.As(err, &ce) || ce.Reason != "not today" || !ce.Remote {
			t.Errorf("Connect: %v", err)
		}
		j.want(t, "0 incoming "+caller.Self().Short(), "1 incoming "+caller.Self().Short())
		if h.count("conns_rejected") != 1 {
			t.Error("the refusal was not counted")
		}
		// Whoever dials is asked, too.
		_, err = h.Connect(soon(t), caller.peer())
		if !errors.Is(err, why) {
			t.Errorf("a dial that this side refuses: %v", err)
		}
		wantConns(t, h, 0)
	})
}
