package network_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

// Behaviours come and go on running nodes: the peers learn of it, over the
// connections that are open.
func TestRegisterWhileRunning(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		na, nb := b.with(1, newProbe()), b.with(2, newProbe())
		connect(t, na, nb)
		synctest.Wait()
		for round := range 5 {
			var j journal
			pa, pb := newProbe(), diary(&j)
			pb.onStart = func(*agent.Behavior) error { j.add("start"); return nil }
			pb.onStop = func(*agent.Behavior) { j.add("stop") }
			register(t, na, 71, pa)
			synctest.Wait()
			if len(pa.connected) != 0 {
				t.Fatal("OnConnect before the other end has the service")
			}
			register(t, nb, 71, pb)
			ca, cb := get(t, pa.connected, "OnConnect at a"), get(t, pb.connected, "OnConnect at b")
			if err := pa.a.Send(router.ToConn(ca.ID), 1, []byte("hi")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if round%2 == 0 { // the behaviour itself goes
				if err := nb.Unregister(71); err != nil {
					t.Fatal(err)
				}
				if len(pb.lost) != 1 {
					t.Error("Unregister returned before OnDisconnect")
				}
				synctest.Wait()
				j.want(t, "start", "connect 1", "open 1", "handler 1 hi", "stop", "close 1 true", "event 1 last words", "disconnect 1 true")
			} else { // its counterpart goes
				if err := na.Unregister(71); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				j.want(t, "start", "connect 1", "open 1", "handler 1 hi", "close 1 true", "event 1 last words", "disconnect 1 true")
			}
			for _, p := range []*probe{pa, pb} {
				if err := get(t, p.lost, "OnDisconnect"); !errors.Is(err, agent.ErrNoService) {
					t.Errorf("the cause is %v, want ErrNoService", err)
				}
			}
			for _, err := range []error{pa.a.Send(router.ToConn(ca.ID), 1, nil), pb.a.Send(router.ToConn(cb.ID), 1, nil)} {
				if !errors.Is(err, agent.ErrNoService) && !errors.Is(err, agent.ErrStopped) {
					t.Errorf("Send afterwards: %v", err)
				}
			}
			for _, h := range []*host{na, nb} {
				if err := h.Unregister(71); (err == nil) != (h == []*host{na, nb}[1-(round+1)%2]) {
					t.Errorf("round %d: Unregister: %v", round, err)
				}
				wantConns(t, h, 1)
				if c := h.State().Conns[0]; c.ID != 1 {
					t.Errorf("the connection was lost: %+v", c)
				}
			}
			synctest.Wait()
		}
	})
}

// A service replaced by another of the same name opens anew; of another name it
// does not.
func TestServiceReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa := newProbe()
		na, nb := b.with(1, pa), b.with(2, newProbe())
		connect(t, na, nb)
		if c := get(t, pa.connected, "OnConnect"); c.Service.ID != service || c.Service.Name != "probe" {
			t.Errorf("connected %+v", c)
		}
		synctest.Wait()
		if err := nb.Unregister(service); err != nil {
			t.Fatal(err)
		}
		get(t, pa.lost, "OnDisconnect")
		other := newProbe()
		other.info.Name = "other"
		register(t, nb, service, other)
		synctest.Wait()
		if len(pa.connected)+len(other.connected) != 0 {
			t.Error("services of different names were connected")
		}
		if err := nb.Unregister(service); err != nil {
			t.Fatal(err)
		}
		second := newProbe()
		second.info.Version = 7
		register(t, nb, service, second)
		if c := get(t, pa.connected, "OnConnect"); c.Service.Version != 7 {
			t.Errorf("connected %+v, want the version that the other end told", c)
		}
		get(t, second.connected, "OnConnect at b")
	})
}

// A private service is told to nobody, and can be sent to by whoever knows it.
func TestPrivateService(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p, q := newProbe(), newProbe()
		p.info.Private = true
		na, nb := b.with(1, p), b.with(2, q)
		connect(t, nb, na)
		synctest.Wait()
		if len(p.connected)+len(q.connected) != 0 || len(na.Services()) != 0 {
			t.Error("a private service was told to others")
		}
		if s := nb.State().Conns[0].Services; len(s) != 0 {
			t.Errorf("b knows %v", s)
		}
		if err := q.a.Send(router.ToNode(na.Self()), 1, []byte("psst")); err != nil {
			t.Fatal(err)
		}
		get(t, p.received, "a message for a private service")
		if err := q.a.Send(router.ToService(70), 1, []byte("local")); err != nil { // b serves it itself
			t.Fatal(err)
		}
		if m := get(t, q.received, "a local message"); m.Hops != 0 || m.Conn != 0 || m.From != nb.Self() {
			t.Errorf("received %+v", m)
		}
		if err := p.a.Send(router.ToService(service), 1, nil); !errors.Is(err, agent.ErrNoService) {
			t.Errorf("a private service was routed to: %v", err)
		}
	})
}

// Services that change faster than a behaviour follows do not fill its queue.
func TestServicesFlood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		gate := make(chan struct{})
		entered := make(chan struct{}, 1000)
		p.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
			entered <- struct{}{}
			<-gate
			return nil
		}
		h := b.with(1, p)
		r := b.opened(2, h)
		get(t, entered, "OnConnect")
		none, probe := servicesFrame(), servicesFrame(probeService)
		sent := 0
		for ; sent < 100_000; sent++ {
			if _, err := r.c.Write(append(none, probe...)); err != nil {
				break
			}
			if sent%100 == 0 {
				synctest.Wait()
				if h.count("protocol_errors") > 0 {
					break
				}
			}
		}
		if sent > 1000 {
			t.Errorf("%d changes of the services were taken while OnConnect ran", sent)
		}
		close(gate)
		time.Sleep(2 * time.Second)
		wantConns(t, h, 0)
	})
}
