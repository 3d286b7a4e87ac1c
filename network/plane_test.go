package network_test

import (
	"errors"
	"fmt"
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

// The scenarios of the reference's network plane that no other test covers: see
// docs/conformance.md.

// PL-1: a handler sees its connection open, answers a message on it, and goes;
// another behaviour is not concerned.
func TestPlaneHandlerAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		open := 0
		p, idle := newProbe(), newProbe()
		idle.info.Name = "idle"
		p.onConnect = func(_ *agent.Behavior, c conn.Info) behavior.Handler {
			return &handler{
				onOpen: func(*agent.Handler) { open++ },
				onMessage: func(a *agent.Handler, m *conn.Message) {
					if err := a.Reply(m.Kind+1, []byte("pong")); err != nil {
						t.Error(err)
					}
				},
				onClose: func(*agent.Handler, error) { open-- },
			}
		}
		h := b.host(1)
		register(t, h, service, p)
		register(t, h, 71, idle)
		h.run("mem://a")
		r := b.opened(2, h)
		get(t, p.connected, "OnConnect")
		r.send(directFrame(service, 7, "ping"))
		id, kind, payload, err := wire.Direct(r.until(wire.TypeDirect))
		if err != nil || id != service || kind != 8 || string(payload) != "pong" {
			t.Errorf("the answer is %d %d %q, %v", id, kind, payload, err)
		}
		synctest.Wait()
		if open != 1 {
			t.Errorf("%d handlers are open, want 1", open)
		}
		r.c.Close(nil)
		get(t, p.lost, "OnDisconnect")
		if open != 0 {
			t.Errorf("%d handlers are open, want 0", open)
		}
		if len(idle.connected)+len(idle.lost)+len(idle.received) != 0 {
			t.Error("a behaviour whose service the peer lacks was disturbed")
		}
	})
}

// PL-2: a connection is closed by its handler, by a behaviour that its handler
// told to, and by a behaviour at the dialling end.
func TestPlaneClose(t *testing.T) {
	for _, who := range []string{"handler", "behaviour, told by the handler", "dialling behaviour"} {
		t.Run(who, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t)
				var live [2]struct{ behaviour, handler int }
				var probes [2]*probe
				for i := range probes {
					p := newProbe()
					probes[i] = p
					p.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
						live[i].behaviour++
						return &handler{
							onOpen:  func(*agent.Handler) { live[i].handler++ },
							onClose: func(*agent.Handler, error) { live[i].handler-- },
							onMessage: func(a *agent.Handler, _ *conn.Message) {
								if who == "handler" {
									if err := a.Close(nil); err != nil {
										t.Error(err)
									}
								} else if err := a.Tell("close"); err != nil {
									t.Error(err)
								}
							},
						}
					}
					p.onEvent = func(a *agent.Behavior, from conn.Info, _ any) {
						if err := a.Close(from.ID, nil); err != nil {
							t.Error(err)
						}
					}
					p.onDisconnect = func(*agent.Behavior, conn.Info, error) { live[i].behaviour-- }
				}
				na, nb := b.with(1, probes[0]), b.with(2, probes[1])
				info := connect(t, na, nb)
				synctest.Wait()
				for i := range live {
					if live[i].behaviour != 1 || live[i].handler != 1 {
						t.Errorf("end %d: %+v", i, live[i])
					}
				}
				if who == "dialling behaviour" {
					if err := probes[0].a.Close(info.ID, nil); err != nil {
						t.Fatal(err)
					}
				} else if err := probes[0].a.Send(router.ToConn(info.ID), 1, nil); err != nil {
					t.Fatal(err)
				}
				get(t, probes[0].lost, "OnDisconnect")
				get(t, probes[1].lost, "OnDisconnect at the other end")
				for i := range live {
					if live[i].behaviour != 0 || live[i].handler != 0 {
						t.Errorf("end %d: %+v", i, live[i])
					}
				}
			})
		})
	}
}

// PL-3 and PL-4: what a behaviour tells and sends itself while it starts
// arrives, once.
func TestPlaneLocalFromStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		p := newProbe()
		h := b.host(1)
		p.onStart = func(a *agent.Behavior) error {
			return errors.Join(a.Tell("told"), a.Send(router.ToKey(identity.Key{}), 1, []byte("by key")), a.Send(router.ToNode(h.Self()), 2, []byte("by node")))
		}
		p.onEvent = func(_ *agent.Behavior, _ conn.Info, ev any) { j.add("event %v", ev) }
		p.onMessage = func(_ *agent.Behavior, m *conn.Message) {
			j.add("%s from %d, %d hops, conn %d, own %v", m.Payload, m.FromService, m.Hops, m.Conn, m.From == h.Self())
		}
		register(t, h, service, p)
		h.run("mem://a")
		synctest.Wait()
		j.want(t, "event told", "by key from 70, 0 hops, conn 0, own true", "by node from 70, 0 hops, conn 0, own true")
	})
}

// PL-5: a handler tells its behaviour, which notifies it back.
func TestPlaneTellAndNotify(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		p := newProbe()
		p.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
			return &handler{
				onOpen:  func(a *agent.Handler) { _ = a.Tell("ping") },
				onEvent: func(_ *agent.Handler, from conn.Info, ev any) { j.add("handler: %v from %d", ev, from.ID) },
			}
		}
		p.onEvent = func(a *agent.Behavior, from conn.Info, ev any) {
			j.add("behaviour: %v from %d", ev, from.ID)
			if err := a.Notify(from.ID, "pong"); err != nil {
				t.Error(err)
			}
		}
		b.opened(2, b.with(1, p))
		synctest.Wait()
		j.want(t, "behaviour: ping from 1", "handler: pong from 0")
	})
}

// PL-8: what the table says of a route, and what the sender is told.
func TestPlaneRoutes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		table := &wilful{}
		p := newProbe()
		h := b.host(1, func(c *network.Config) { c.Router = table })
		register(t, h, service, p)
		h.run("mem://a")
		r := b.opened(2, h)
		get(t, p.connected, "OnConnect")
		to := map[router.Rule]router.Route{router.RuleNode: router.ToNode(key(t, 9).ID()), router.RuleKey: router.ToKey(identity.Key{1}), router.RuleService: router.ToService(99)}
		for rule, route := range to {
			for _, c := range []struct {
				action router.Action
				want   error
			}{
				{router.Reject(), map[bool]error{true: agent.ErrNoService, false: agent.ErrNoRoute}[rule == router.RuleService]},
				{router.Forward(99), agent.ErrNoRoute},
				{router.Forward(1), nil},
				{router.Deliver(), map[bool]error{true: agent.ErrNoService, false: nil}[rule == router.RuleService]},
			} {
				table.action = c.action
				if err := p.a.Send(route, 1, []byte(c.action.String())); !errors.Is(err, c.want) {
					t.Errorf("%v to %v: %v, want %v", c.action, route, err, c.want)
				}
				switch {
				case c.want != nil:
				case c.action.IsDeliver():
					if m := get(t, p.received, "a local message"); m.text != "deliver" || m.Hops != 0 {
						t.Errorf("received %+v", m)
					}
				default:
					head, payload, err := wire.ParseRouted(r.until(wire.TypeRouted))
					if err != nil || head.Route().Rule != rule || head.Hops != 1 || head.TTL != 32 || head.Origin != h.Self() || string(payload) != "forward:1" {
						t.Errorf("went out as %+v %q, %v", head, payload, err)
					}
				}
			}
		}
		for _, route := range []router.Route{{}, {Rule: 77}} {
			if err := p.a.Send(route, 1, nil); !errors.Is(err, agent.ErrNoRoute) {
				t.Errorf("Send to %v: %v", route, err)
			}
		}
		if err := p.a.Send(router.ToConn(5), 1, nil); !errors.Is(err, agent.ErrNoConn) {
			t.Errorf("Send to no connection: %v", err)
		}
		if err := p.a.Close(5, nil); !errors.Is(err, agent.ErrNoConn) {
			t.Errorf("Close of no connection: %v", err)
		}
		if _, ok := p.a.Stats(5); ok {
			t.Error("there are statistics of no connection")
		}
	})
}

// PL-9: every behaviour starts once, in the order of registration, and stops
// once, in the opposite order.
func TestPlaneStartAndStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		h := b.host(1)
		for i := range 3 {
			p := newProbe()
			p.onStart = func(*agent.Behavior) error { j.add("start %d", i); return nil }
			p.onStop = func(*agent.Behavior) { j.add("stop %d", i) }
			register(t, h, service+identity.ServiceID(i), p)
		}
		h.run("mem://a")
		h.close()
		j.want(t, "start 0", "start 1", "start 2", "stop 2", "stop 1", "stop 0")
	})
}

// PL-12: both ends hear of a connection once, and which of them dialled.
func TestPlaneDirections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa, pb := newProbe(), newProbe()
		na, nb := b.with(1, pa), b.with(2, pb)
		for i := range 10 {
			from, to := []*host{na, nb}[i%2], []*host{nb, na}[i%2]
			pf, pt := []*probe{pa, pb}[i%2], []*probe{pb, pa}[i%2]
			connect(t, from, to)
			cf, ct := get(t, pf.connected, "OnConnect"), get(t, pt.connected, "OnConnect at the other end")
			if cf.Direction != conn.Outgoing || ct.Direction != conn.Incoming || cf.Node != to.Self() || ct.Node != from.Self() {
				t.Errorf("connections %+v and %+v", cf, ct)
			}
			if err := pt.a.Close(ct.ID, fmt.Errorf("round %d", i)); err != nil {
				t.Fatal(err)
			}
			get(t, pf.lost, "OnDisconnect")
			get(t, pt.lost, "OnDisconnect at the other end")
			if len(pa.connected)+len(pb.connected)+len(pa.lost)+len(pb.lost) != 0 {
				t.Error("a connection was announced twice")
			}
		}
	})
}
