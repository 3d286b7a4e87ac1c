package network_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

// A panicking handler costs its connection: nothing else of the node notices.
func TestG6PanicIsContained(t *testing.T) {
	for _, hook := range []string{"OnMessage", "OnOpen", "OnEvent", "OnTick", "OnClose"} {
		t.Run("handler "+hook, func(t *testing.T) {
			bubble(t, func(t *testing.T) { handlerPanics(t, hook) })
		})
	}
	for _, hook := range []string{"OnMessage", "OnConnect", "OnDisconnect", "OnEvent", "OnTick", "Admit", "Do", "OnDialError", "OnReport", "Take", "Take of a local message"} {
		t.Run("behaviour "+hook, func(t *testing.T) {
			bubble(t, func(t *testing.T) { behaviorPanics(t, hook, false) })
		})
		t.Run("restarted behaviour "+hook, func(t *testing.T) {
			bubble(t, func(t *testing.T) { behaviorPanics(t, hook, true) })
		})
	}
}

func handlerPanics(t *testing.T, hook string) {
	b := newBench(t)
	var log logs
	var j journal
	pa, pb, pc := newProbe(), newProbe(), newProbe()
	var victim identity.NodeID
	boom := func(a *agent.Handler, at string) {
		if a.Info().Node == victim {
			j.add("%s", at)
			if at == hook {
				panic("boom")
			}
		}
	}
	pb.info.Tick = time.Second
	pb.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
		return &handler{
			onOpen:    func(a *agent.Handler) { boom(a, "OnOpen") },
			onMessage: func(a *agent.Handler, _ *conn.Message) { boom(a, "OnMessage"); _ = a.Reply(1, []byte("pong")) },
			onEvent:   func(a *agent.Handler, _ conn.Info, _ any) { boom(a, "OnEvent") },
			onTick:    func(a *agent.Handler, _ time.Time) { boom(a, "OnTick") },
			onClose:   func(a *agent.Handler, _ error) { boom(a, "OnClose") },
		}
	}
	na, nb, nc := b.with(1, pa), b.with(2, pb, logTo(&log)), b.with(3, pc)
	victim = na.Self()
	connect(t, nc, nb)
	cb := get(t, pb.connected, "c at b")
	connect(t, na, nb)
	ca := get(t, pa.connected, "b at a")
	cb = get(t, pb.connected, "a at b")
	_ = pa.a.Send(router.ToConn(ca.ID), 1, nil) // the connection may be gone already
	synctest.Wait()
	_ = pb.a.Notify(cb.ID, 1)
	time.Sleep(2 * time.Second)
	_ = pa.a.Close(ca.ID, nil)
	cause := get(t, pb.lost, "OnDisconnect at b")
	remote := get(t, pa.lost, "OnDisconnect at a")
	if hook != "OnClose" {
		wantCode(t, cause, conn.CodePanic)
		wantCode(t, remote, conn.CodePanic)
		if !strings.Contains(remote.Error(), "service 70") {
			t.Errorf("a was told %q, want the service named", remote)
		}
	}
	if lines := j.lines(); lines[len(lines)-1] != hook {
		t.Errorf("the handler was called again after its panic: %q", lines)
	}
	if lines := log.having("panicked", "boom", "callback="+hook, "service=70", "g6_panic_test.go"); len(lines) != 1 {
		t.Errorf("the log says %q, want the panic of %s with its stack", log.lines(), hook)
	}
	if n := nb.count("panics"); n != 1 {
		t.Errorf("panics is %d, want 1", n)
	}
	// The other connection, and the same service on it, go on.
	cc := get(t, pc.connected, "b at c")
	if err := pc.a.Send(router.ToConn(cc.ID), 1, nil); err != nil {
		t.Fatal(err)
	}
	get(t, pc.received, "the answer to c")
	connect(t, na, nb) // and the peer may come again
}

// fragile is a probe that panics once in a callback, on demand.
func fragile(hook string, armed *atomic.Bool) *probe {
	p := newProbe()
	boom := func(at string) {
		if at == hook && armed.CompareAndSwap(true, false) {
			panic("boom")
		}
	}
	p.info.Tick = time.Second
	p.onMessage = func(a *agent.Behavior, m *conn.Message) {
		if m.Kind == 9 {
			return // only for the part
		}
		boom("OnMessage")
		_ = a.Send(router.ToNode(m.From), 1, []byte("pong")) // the sender may be gone
	}
	p.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler { boom("OnConnect"); return nil }
	p.onDisconnect = func(*agent.Behavior, conn.Info, error) { boom("OnDisconnect") }
	p.onEvent = func(*agent.Behavior, conn.Info, any) { boom("OnEvent") }
	p.onTick = func(*agent.Behavior, time.Time) { boom("OnTick") }
	p.admit = func(*agent.Behavior, conn.Peer) error { boom("Admit"); return nil }
	p.onDialError = func(*agent.Behavior, conn.Dial, error) { boom("OnDialError") }
	p.onReport = func(*agent.Behavior, agent.Report) { boom("OnReport") }
	p.parts = []behavior.Part{&part{j: new(journal), take: func(m *conn.Message) bool {
		if m.Kind == 9 {
			boom("Take")
			boom("Take of a local message")
		}
		return false
	}}}
	return p
}

// provoke makes the node call a behaviour's callback.
func provoke(t *testing.T, hook string, na, nb *host, pa, pb *probe, armed *atomic.Bool) {
	ctx := soon(t)
	switch hook {
	case "OnMessage", "Take":
		armed.Store(true)
		if err := pa.a.Send(router.ToNode(nb.Self()), map[string]conn.Kind{"OnMessage": 1, "Take": 9}[hook], nil); err != nil {
			t.Fatal(err)
		}
	case "Take of a local message":
		armed.Store(true)
		if err := pb.a.Send(router.ToNode(nb.Self()), 9, nil); err != nil {
			t.Fatal(err)
		}
	case "OnDisconnect":
		armed.Store(true)
		if err := na.Delete(identity.PeerAddress{ID: nb.Self()}); err != nil {
			t.Fatal(err)
		}
	case "OnConnect":
		if err := na.Delete(identity.PeerAddress{ID: nb.Self()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		armed.Store(true)
		_, _ = na.Connect(ctx, nb.peer())
	case "Admit":
		if err := na.Delete(identity.PeerAddress{ID: nb.Self()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		armed.Store(true)
		_, err := na.Connect(ctx, nb.peer())
		wantCode(t, err, conn.CodeRejected)
	case "OnEvent":
		armed.Store(true)
		if err := pb.a.Post(ctx, 1); err != nil {
			t.Fatal(err)
		}
	case "OnTick":
		armed.Store(true)
		time.Sleep(2 * time.Second)
	case "Do":
		if err := pb.a.Do(ctx, func() { panic("boom") }); !errors.Is(err, agent.ErrStopped) {
			t.Errorf("Do of a function that panicked: %v, want ErrStopped", err)
		}
	case "OnDialError":
		armed.Store(true)
		nobody := identity.PeerAddress{ID: key(t, 99).ID(), Addresses: []identity.Address{{Scheme: "mem", Host: "nobody"}}}
		if err := pb.a.Dial(nobody); err != nil {
			t.Fatal(err)
		}
	case "OnReport":
		armed.Store(true)
		if err := pb.a.SendMessage(agent.Outgoing{To: router.ToNode(na.Self()).At(999), ID: 1, Report: true}); err != nil && !errors.Is(err, agent.ErrNoService) {
			t.Fatal(err)
		}
		nb.table.mu.Lock()
		nb.table.via[key(t, 99).ID()] = na.Self()
		nb.table.mu.Unlock()
		if err := pb.a.SendMessage(agent.Outgoing{To: router.ToNode(key(t, 99).ID()), ID: 2, Report: true}); err != nil {
			t.Fatal(err)
		}
	}
}

func behaviorPanics(t *testing.T, hook string, restart bool) {
	b := newBench(t)
	var log logs
	var armed atomic.Bool
	pa, other, second := newProbe(), newProbe(), newProbe()
	made := []*probe{fragile(hook, &armed), second}
	first := made[0]
	na := b.host(1)
	nb := b.host(2, logTo(&log), limits(func(l *network.Limits) { l.RestartBackoff = 3 * time.Second }))
	register(t, na, service, pa)
	register(t, na, 71, newProbe())
	register(t, nb, 71, other)
	if restart {
		fresh := func() behavior.Behavior {
			p := made[0]
			made = made[1:]
			return p
		}
		if err := nb.RegisterFunc(service, fresh); err != nil {
			t.Fatal(err)
		}
	} else {
		register(t, nb, service, first)
	}
	na.run("mem://a")
	nb.run("mem://b")
	connect(t, na, nb)
	synctest.Wait()
	provoke(t, hook, na, nb, pa, first, &armed)
	time.Sleep(500 * time.Millisecond)

	if lines := log.having("panicked", "boom", "callback="+strings.Fields(hook)[0]+" ", "service=70", "g6_panic_test.go"); len(lines) != 1 {
		t.Errorf("the log says %q, want one panic with its stack", log.lines())
	}
	if n := nb.count("panics"); n != 1 {
		t.Errorf("panics is %d, want 1", n)
	}
	if err := first.a.Tell(1); !errors.Is(err, agent.ErrStopped) {
		t.Errorf("the agent of a behaviour that panicked: %v, want ErrStopped", err)
	}
	if s := nb.State(); len(s.Services) != 1 || s.Services[0].ID != 71 {
		t.Errorf("services right after the panic: %+v", s.Services)
	}
	// The other behaviour goes on, over the same connection.
	_, _ = na.Connect(soon(t), nb.peer()) // Admit has cost it
	if err := pa.a.Send(router.ToNode(nb.Self()).At(71), 1, []byte("still there")); err != nil {
		t.Fatal(err)
	}
	get(t, other.received, "a message for the other behaviour")
	time.Sleep(5 * time.Second)
	if !restart {
		if err := pa.a.Send(router.ToNode(nb.Self()), 1, nil); !errors.Is(err, agent.ErrNoService) {
			t.Errorf("sending to a stopped behaviour: %v, want ErrNoService", err)
		}
		return
	}
	if n := nb.count("restarts"); n != 1 {
		t.Errorf("restarts is %d, want 1", n)
	}
	get(t, second.connected, "OnConnect of the second instance, for the open connection")
	if err := pa.a.Send(router.ToNode(nb.Self()), 1, []byte("hello again")); err != nil {
		t.Fatal(err)
	}
	get(t, second.received, "a message for the second instance")
}

// An OnConnect that panicked has opened nothing: there is no OnDisconnect.
func TestG6NoDisconnectAfterPanicInConnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa, pb := newProbe(), newProbe()
		pb.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler { panic("boom") }
		na, nb := b.with(1, pa), b.with(2, pb)
		connect(t, na, nb)
		get(t, pa.lost, "OnDisconnect at a, as the service is gone")
		na.close()
		synctest.Wait()
		if len(pb.lost) != 0 {
			t.Error("OnDisconnect was called without OnConnect having returned")
		}
	})
}

// A panic in OnStart or OnStop costs the behaviour, too.
func TestG6PanicInStartAndStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var log logs
		pa, pb := newProbe(), newProbe()
		pa.onStart = func(*agent.Behavior) error { panic("boom in start") }
		pb.onStop = func(*agent.Behavior) { panic("boom in stop") }
		h := b.host(1, logTo(&log))
		register(t, h, 70, pa)
		register(t, h, 71, pb)
		second := newProbe()
		made := []behavior.Behavior{pa, second}
		if err := h.RegisterFunc(72, func() behavior.Behavior {
			p := made[0]
			made = made[1:]
			return p
		}); err != nil {
			t.Fatal(err)
		}
		h.run("mem://a")
		time.Sleep(5 * time.Second)
		if s := h.State(); len(s.Services) != 2 || s.Services[0].ID != 71 || s.Services[1].ID != 72 {
			t.Errorf("services: %+v", s.Services)
		}
		// On a running node, Register tells, and does not try again by itself.
		var bad *network.PanicError
		calls := 0
		err := h.RegisterFunc(73, func() behavior.Behavior { calls++; return pa })
		if !errors.As(err, &bad) || bad.Value != "boom in start" {
			t.Errorf("Register of a behaviour whose OnStart panics: %v, want a *PanicError", err)
		}
		time.Sleep(time.Minute)
		if calls != 1 {
			t.Errorf("the function of a registration that failed was called %d times", calls)
		}
		h.close()
		if err := get(t, h.done, "the end of Run"); !errors.Is(err, agent.ErrStopped) {
			t.Errorf("Run: %v", err)
		}
		if lines := log.having("boom in stop"); len(lines) != 1 {
			t.Errorf("log: %q", log.lines())
		}
	})
}

// Restarts wait longer and longer.
func TestG6RestartBackoff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var made []time.Time
		h := b.host(1)
		if err := h.RegisterFunc(service, func() behavior.Behavior {
			made = append(made, time.Now())
			p := newProbe()
			p.onStart = func(a *agent.Behavior) error { return a.Tell(1) }
			p.onEvent = func(*agent.Behavior, conn.Info, any) { panic("boom") }
			return p
		}); err != nil {
			t.Fatal(err)
		}
		h.run("mem://a")
		time.Sleep(time.Hour)
		h.close()
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			if d := made[i+1].Sub(made[i]); d != want*time.Second {
				t.Errorf("restart %d came after %v, want %v s", i+1, d, int(want))
			}
		}
	})
}

func TestG6StopOnPanic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		p.onEvent = func(*agent.Behavior, conn.Info, any) { panic("boom") }
		h := b.with(1, p, func(c *network.Config) { c.StopOnPanic = true })
		if err := p.a.Tell(1); err != nil {
			t.Fatal(err)
		}
		var bad *network.PanicError
		if err := get(t, h.done, "the end of Run"); !errors.As(err, &bad) || bad.Service != service || bad.Value != "boom" || !strings.Contains(string(bad.Stack), "g6_panic_test.go") {
			t.Errorf("Run: %v, want the panic", err)
		}
		h.done <- nil
	})
}
