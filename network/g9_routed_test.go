package network_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

// line makes nodes that are connected in a row and know the way to each other.
func line(t *testing.T, b *bench, n int, prepare ...func(*network.Config)) ([]*host, []*probe) {
	t.Helper()
	var hosts []*host
	var probes []*probe
	for i := range n {
		p := newProbe()
		hosts, probes = append(hosts, b.with(byte(i+1), p, prepare...)), append(probes, p)
	}
	for i, h := range hosts {
		h.table.mu.Lock()
		for j, to := range hosts {
			switch {
			case j < i:
				h.table.via[to.Self()] = hosts[i-1].Self()
			case j > i:
				h.table.via[to.Self()] = hosts[i+1].Self()
			}
		}
		h.table.mu.Unlock()
	}
	for i := range n - 1 {
		connect(t, hosts[i], hosts[i+1])
		get(t, probes[i].connected, "OnConnect")
		get(t, probes[i+1].connected, "OnConnect")
	}
	return hosts, probes
}

func TestG9RoutedForwarding(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		hosts, probes := line(t, b, 5)
		payload := bytes.Repeat([]byte("x"), 100_000)
		for i, from := range probes {
			for j, to := range probes {
				text := fmt.Sprintf("%d to %d", i, j)
				if err := from.a.Send(router.ToNode(hosts[j].Self()), 7, append([]byte(text), payload...)); err != nil {
					t.Fatal(text, err)
				}
				m := get(t, to.received, text)
				if m.text != text+string(payload) || m.From != hosts[i].Self() || int(m.Hops) != max(i-j, j-i) || m.Kind != 7 || m.FromService != service || m.Service != service {
					t.Errorf("%s: received kind %d from %s after %d hops: %.20q", text, m.Kind, m.From.Short(), m.Hops, m.text)
				}
			}
		}
		// By service and by key, over the same way.
		for _, h := range hosts {
			h.table.mu.Lock()
			h.table.srv[71], h.table.near = hosts[4].Self(), hosts[4].Self()
			h.table.mu.Unlock()
		}
		far := newProbe()
		far.info.Name = "far"
		register(t, hosts[4], 71, far)
		for _, to := range []router.Route{router.ToService(71), router.ToKey(identity.Key{1}).At(71), router.ToNode(hosts[4].Self()).At(71)} {
			if err := probes[0].a.Send(to, 1, []byte("to 71")); err != nil {
				t.Fatal(to, err)
			}
			if m := get(t, far.received, to.String()); m.Hops != 4 || m.From != hosts[0].Self() {
				t.Errorf("%v: %+v", to, m)
			}
		}
		if n := hosts[2].count("routed_forwarded"); n != 2*(2*2)+3 { // two nodes on each side, both ways; the messages to 71
			t.Errorf("the node in the middle forwarded %d messages", n)
		}
	})
}

// Header and payload go on as they came, but for TTL and hops.
func TestG9ForwardedFrame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		h := b.with(1, newProbe())
		left, right := b.opened(2, h), b.opened(3, h)
		h.table.mu.Lock()
		h.table.via[key(t, 9).ID()] = right.key.ID()
		h.table.mu.Unlock()
		head := wire.Routed{Rule: router.RuleNode, TTL: 9, Hops: 3, Flags: 0x81, Service: 5, From: 6, Kind: 7, ID: 8, Origin: key(t, 8).ID(), Target: key(t, 9).ID()}
		frame := append(wire.AppendRouted(nil, &head, 7), "payload"...)
		frame[wire.PrefixSize+11] = 3 // three bytes of an extension that nobody knows
		left.send(frame)
		got := right.until(wire.TypeRouted)
		want := slices.Clone(frame[wire.PrefixSize:])
		want[1], want[2] = 8, 4
		if !bytes.Equal(got, want) {
			t.Errorf("forwarded\n%x, want\n%x", got, want)
		}
		// Hops stop at 255.
		head.Hops, head.TTL = 255, 255
		left.send(wire.AppendRouted(nil, &head, 0))
		if got := right.until(wire.TypeRouted); got[1] != 254 || got[2] != 255 {
			t.Errorf("TTL %d and hops %d went on", got[1], got[2])
		}
		// What has used up its TTL does not go on; the sender is told if it asked.
		for _, ttl := range []uint8{0, 1} {
			head.TTL, head.Hops, head.Origin, head.ID = ttl, 1, left.key.ID(), uint64(ttl)
			left.send(wire.AppendRouted(nil, &head, 0))
			r, err := wire.ParseReport(left.until(wire.TypeReport))
			if err != nil || r.Code != wire.ReportNoRoute || r.ID != uint64(ttl) || r.Target != left.key.ID() || r.Reporter != h.Self() || r.To != 6 || r.Service != 5 || r.Kind != 7 {
				t.Errorf("TTL %d: report %+v, %v", ttl, r, err)
			}
			head.Flags = 0x80
			left.send(wire.AppendRouted(nil, &head, 0)) // and not, if it did not
			head.Flags = 0x81
		}
		left.alive()
		right.alive()
		if n := h.count("routed_expired"); n != 4 {
			t.Errorf("routed_expired is %d, want 4", n)
		}
	})
}

// What a table says of the ingress, of closed connections and of nowhere.
func TestG9NeverBackIntoIngress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		table := &wilful{}
		h := b.host(1, func(c *network.Config) { c.Router = table })
		register(t, h, service, newProbe())
		h.run("mem://a")
		r := b.opened(2, h)
		for _, c := range []struct {
			name   string
			action router.Action
			rule   router.Rule
			code   wire.ReportCode
		}{
			{"back into the ingress", router.Forward(1), router.RuleNode, wire.ReportNoRoute},
			{"to a connection that is not there", router.Forward(99), router.RuleNode, wire.ReportNoRoute},
			{"rejected", router.Reject(), router.RuleKey, wire.ReportNoRoute},
			{"no service", router.Reject(), router.RuleService, wire.ReportNoService},
		} {
			table.action = c.action
			r.send(wire.AppendRouted(nil, &wire.Routed{Rule: c.rule, TTL: 9, Hops: 1, Flags: wire.FlagReport, Service: 5, Origin: r.key.ID(), Target: key(t, 9).ID()}, 0))
			for {
				typ, body, err := r.next()
				if err != nil || typ == wire.TypeRouted {
					t.Fatalf("%s: got frame %d, %v", c.name, typ, err)
				}
				if typ == wire.TypeReport {
					if rep, err := wire.ParseReport(body); err != nil || rep.Code != c.code {
						t.Errorf("%s: report %+v, %v; want code %d", c.name, rep, err, c.code)
					}
					break
				}
			}
		}
		// A node's own message that has come round does not start again.
		r.send(wire.AppendRouted(nil, &wire.Routed{Rule: router.RuleNode, TTL: 9, Hops: 3, Origin: h.Self(), Target: key(t, 9).ID()}, 0))
		r.alive()
		if n := h.count("routed_loops"); n != 1 {
			t.Errorf("routed_loops is %d, want 1", n)
		}
		// A neighbour's own messages have crossed one connection, others more.
		for _, c := range []struct {
			hops   uint8
			origin byte
		}{{1, 9}, {0, 9}, {2, 2}} {
			r.send(wire.AppendRouted(nil, &wire.Routed{Rule: router.RuleNode, TTL: 9, Hops: c.hops, Service: service, Origin: key(t, c.origin).ID(), Target: h.Self()}, 0))
		}
		r.alive()
		if n := h.count("routed_forged"); n != 3 {
			t.Errorf("routed_forged is %d, want 3", n)
		}
	})
}

// wilful is a table with one answer.
type wilful struct{ action router.Action }

func (w *wilful) PathToNode(identity.NodeID, identity.ConnID) router.Action       { return w.action }
func (w *wilful) PathToKey(identity.Key, identity.ConnID) router.Action           { return w.action }
func (w *wilful) PathToService(identity.ServiceID, identity.ConnID) router.Action { return w.action }

// Whoever asks hears of each way that a message can fail on the way.
func TestG9Reports(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		hosts, probes := line(t, b, 4)
		reports := make(chan agent.Report, 10)
		probes[0].onReport = func(_ *agent.Behavior, r agent.Report) { reports <- r }
		nobody, large := key(t, 99).ID(), key(t, 98).ID()
		for i := range 2 {
			hosts[i].table.mu.Lock()
			hosts[i].table.via[nobody] = hosts[i+1].Self()
			hosts[i].table.via[large] = hosts[i+1].Self()
			hosts[i].table.mu.Unlock()
		}
		tiny := b.raw(98, hosts[2])
		tiny.send(hello(func(h *wire.Hello) { h.MaxMessage = 10 }))
		tiny.want(wire.TypeHello)
		tiny.send(wire.AppendPrefix(nil, wire.TypeReady, 0))
		tiny.want(wire.TypeReady)
		synctest.Wait()
		// The far end of the line takes nothing in: its queue is full.
		full := newProbe()
		full.info.Name, full.info.MaxQueue = "full", 1
		gate := make(chan struct{})
		full.onMessage = func(*agent.Behavior, *conn.Message) { <-gate }
		register(t, hosts[3], 71, full)
		for range 2 {
			if err := probes[0].a.Send(router.ToNode(hosts[3].Self()).At(71), 1, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for i, c := range []struct {
			to   router.Route
			want error
			from int
		}{
			{router.ToNode(nobody), agent.ErrNoRoute, 2},
			{router.ToNode(hosts[3].Self()).At(999), agent.ErrNoService, 3},
			{router.ToNode(hosts[1].Self()).At(999), agent.ErrNoService, 0}, // the neighbour is known not to have it
			{router.ToNode(hosts[3].Self()).At(71), agent.ErrQueueFull, 3},
			{router.ToNode(large), agent.ErrTooLarge, 2},
		} {
			err := probes[0].a.SendMessage(agent.Outgoing{To: c.to, Kind: 5, ID: uint64(i), Report: true, Payload: make([]byte, 100)})
			if c.from == 0 {
				if !errors.Is(err, c.want) {
					t.Errorf("%v: %v, want %v at once", c.to, err, c.want)
				}
				continue
			}
			if err != nil {
				t.Fatal(c.to, err)
			}
			r := get(t, reports, "a report on "+c.to.String())
			if !errors.Is(r.Failure, c.want) || r.ID != uint64(i) || r.Kind != 5 || r.From != hosts[c.from].Self() {
				t.Errorf("%v: report %+v, want %v from node %d", c.to, r, c.want, c.from)
			}
		}
		// Nobody hears who does not ask, nor of what arrived.
		for _, to := range []router.Route{router.ToNode(nobody), router.ToNode(hosts[3].Self())} {
			if err := probes[0].a.SendMessage(agent.Outgoing{To: to, ID: 9, Report: to.Node() != nobody}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(reports) != 0 {
			t.Errorf("a report too many: %+v", <-reports)
		}
		close(gate)
	})
}

// A TTL bounds how far a message goes, and how long it runs in a circle.
func TestG9Loop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		hosts, probes := line(t, b, 3, limits(func(l *network.Limits) { l.Hops = 20 }))
		connect(t, hosts[2], hosts[0])
		synctest.Wait()
		reports := make(chan agent.Report, 10)
		probes[0].onReport = func(_ *agent.Behavior, r agent.Report) { reports <- r }
		nowhere := key(t, 99).ID()
		for i, h := range hosts[1:] {
			h.table.mu.Lock()
			h.table.via[nowhere] = hosts[(i+2)%3].Self()
			h.table.mu.Unlock()
		}
		hosts[0].table.via[nowhere] = hosts[1].Self()
		if err := probes[0].a.SendMessage(agent.Outgoing{To: router.ToNode(nowhere), ID: 1, Report: true}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := hosts[0].count("routed_loops"); n != 1 {
			t.Errorf("the origin saw its message %d times, want 1: it does not send it round again", n)
		}
		// Between two others it runs until its TTL is used up.
		hosts[1].table.mu.Lock()
		hosts[1].table.via[nowhere] = hosts[2].Self()
		hosts[1].table.mu.Unlock()
		hosts[2].table.mu.Lock()
		hosts[2].table.via[nowhere] = hosts[1].Self()
		hosts[2].table.mu.Unlock()
		if err := probes[0].a.SendMessage(agent.Outgoing{To: router.ToNode(nowhere), ID: 2, Report: true}); err != nil {
			t.Fatal(err)
		}
		if r := get(t, reports, "a report"); !errors.Is(r.Failure, agent.ErrNoRoute) || r.ID != 2 {
			t.Errorf("report %+v", r)
		}
	})
}

// A relay whose next connection is full reports that, and loses nothing else.
func TestG9QueueFullOnTheWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		hosts, probes := line(t, b, 3)
		reports := make(chan agent.Report, 100000)
		probes[0].onReport = func(_ *agent.Behavior, r agent.Report) { reports <- r }
		b.net.Stall(hosts[1].Self(), hosts[2].Self())
		payload := func(i int) []byte { return append(fmt.Appendf(nil, "%06d", i), make([]byte, 10_000)...) }
		const n = 1000
		for i := range n {
			if err := probes[0].a.SendWait(soon(t), router.ToNode(hosts[2].Self()), 1, payload(i)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			o := agent.Outgoing{To: router.ToNode(hosts[2].Self()), ID: uint64(i), Report: true, Payload: payload(n + i)}
			for errors.Is(probes[0].a.SendMessage(o), agent.ErrQueueFull) {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if len(reports) != n {
			t.Errorf("%d reports, want %d", len(reports), n)
		}
		if r := <-reports; !errors.Is(r.Failure, agent.ErrQueueFull) || r.From != hosts[1].Self() {
			t.Errorf("report %+v", r)
		}
		if q := hosts[1].State().Conns[1].Queued; q > 4<<20 {
			t.Errorf("%d bytes wait at the relay", q)
		}
		// What the relay took in arrives when the way is free again, in order.
		b.net.Heal(hosts[1].Self(), hosts[2].Self())
		synctest.Wait()
		// The burst may be more than the queue of the receiver takes: that is counted there.
		dropped := int(hosts[1].count("routed_dropped") + hosts[2].count("messages_refused"))
		if got := len(probes[2].received); got != 2*n-dropped || got < 100 {
			t.Errorf("%d messages arrived and %d were dropped, of %d", got, dropped, 2*n)
		}
		for last := ""; len(probes[2].received) > 0; {
			m := <-probes[2].received
			if m.text[:6] <= last {
				t.Fatalf("message %s came after %s", m.text[:6], last)
			}
			last = m.text[:6]
		}
	})
}

// A part sees routed messages first, wherever they come from.
func TestG9PartTakesRouted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		hosts, probes := line(t, b, 3)
		taken := &part{j: new(journal), take: func(*conn.Message) bool { return true }}
		p := newProbe()
		p.info.Name = "parted"
		p.parts = []behavior.Part{taken}
		register(t, hosts[2], 71, p)
		synctest.Wait() // the neighbour knows
		for i := range 3 {
			if err := probes[i].a.Send(router.ToNode(hosts[2].Self()).At(71), 1, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		taken.mu.Lock()
		defer taken.mu.Unlock()
		if slices.Sort(taken.took); !slices.Equal(taken.took, []string{"0", "1", "2"}) || len(p.received) != 0 {
			t.Errorf("the part took %q, %d went past it", taken.took, len(p.received))
		}
	})
}
