package network_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// A turnstile notices callbacks that overlap.
type turnstile struct {
	inside   atomic.Int32
	overlaps atomic.Int32
	calls    atomic.Int64
}

func (s *turnstile) enter() func() {
	if s.inside.Add(1) != 1 {
		s.overlaps.Add(1)
	}
	s.calls.Add(1)
	runtime.Gosched()
	return func() { s.inside.Add(-1) }
}

// turnsOf is a probe, with handlers, all of whose callbacks pass a turnstile.
func turnsOf(b *turnstile, h *turnstile, handlers chan<- *agent.Handler) *probe {
	p := newProbe()
	p.info.Tick = time.Millisecond
	p.onTick = func(*agent.Behavior, time.Time) { b.enter()() }
	p.onMessage = func(*agent.Behavior, *conn.Message) { b.enter()() }
	p.onEvent = func(*agent.Behavior, conn.Info, any) { b.enter()() }
	p.admit = func(*agent.Behavior, conn.Peer) error { b.enter()(); return nil }
	p.onDisconnect = func(*agent.Behavior, conn.Info, error) { b.enter()() }
	p.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
		defer b.enter()()
		return &handler{
			onOpen:    func(a *agent.Handler) { h.enter()(); handlers <- a },
			onMessage: func(a *agent.Handler, _ *conn.Message) { h.enter()(); _ = a.Tell(1) },
			onEvent:   func(*agent.Handler, conn.Info, any) { h.enter()() },
			onTick:    func(*agent.Handler, time.Time) { h.enter()() },
			onClose:   func(*agent.Handler, error) { h.enter()() },
		}
	}
	return p
}

func TestG1CallbacksNeverOverlap(t *testing.T) {
	b := newBench(t)
	var behaviour, handlerTurn turnstile
	handlers := make(chan *agent.Handler, 1)
	pa, pb := newProbe(), turnsOf(&behaviour, &handlerTurn, handlers)
	na, nb := b.with(1, pa), b.with(2, pb)
	connect(t, na, nb)
	ca, cb := get(t, pa.connected, "OnConnect of a"), get(t, pb.connected, "OnConnect of b")
	h := get(t, handlers, "OnOpen")

	const each = 500
	var group sync.WaitGroup
	run := func(f func(ctx context.Context) error) {
		ctx := soon(t)
		group.Go(func() {
			for range each {
				if err := f(ctx); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	run(func(ctx context.Context) error {
		return pa.a.SendWait(ctx, router.ToConn(ca.ID), 1, []byte("to the handler"))
	})
	run(func(ctx context.Context) error {
		return pa.a.SendWait(ctx, router.ToNode(nb.Self()), 1, []byte("to the behaviour"))
	})
	run(func(ctx context.Context) error {
		return pb.a.SendWait(ctx, router.ToNode(nb.Self()), 1, []byte("local"))
	})
	run(func(ctx context.Context) error { return pb.a.Post(ctx, "posted") })
	run(func(ctx context.Context) error { return pb.a.Do(ctx, func() { behaviour.enter()() }) })
	run(func(ctx context.Context) error { pb.a.After(time.Microsecond, "timer"); return nil })
	run(func(ctx context.Context) error { h.After(time.Microsecond, "timer"); return nil })
	run(func(ctx context.Context) error {
		if err := pb.a.Notify(cb.ID, "notified"); err != agent.ErrQueueFull {
			return err
		}
		return nil
	})
	group.Wait()
	if err := pb.a.Close(cb.ID, nil); err != nil {
		t.Fatal(err)
	}
	get(t, pb.lost, "OnDisconnect")
	if n := behaviour.overlaps.Load(); n != 0 {
		t.Errorf("%d callbacks of a behaviour overlapped others", n)
	}
	if n := handlerTurn.overlaps.Load(); n != 0 {
		t.Errorf("%d callbacks of a handler overlapped others", n)
	}
	// Admit, OnConnect, OnDisconnect; messages, told events, posts, Do.
	if n := behaviour.calls.Load(); n < 3+5*each {
		t.Errorf("%d callbacks of the behaviour ran, want at least %d", n, 3+5*each)
	}
	if n := handlerTurn.calls.Load(); n < 2+each {
		t.Errorf("%d callbacks of the handler ran, want at least %d", n, 2+each)
	}
}

func TestG2SlowBehaviorDelaysNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var log logs
		pa, slow, quick := newProbe(), newProbe(), newProbe()
		quick.info.Name = "quick"
		slow.onMessage = func(*agent.Behavior, *conn.Message) { time.Sleep(3 * time.Second) }
		at := make(chan time.Time, 10)
		quick.onMessage = func(*agent.Behavior, *conn.Message) { at <- time.Now() }
		other := newProbe()
		other.info.Name = "quick"
		na, nb := b.host(1), b.host(2, logTo(&log))
		register(t, na, service, pa)
		register(t, na, 71, other)
		register(t, nb, service, slow)
		register(t, nb, 71, quick)
		na.run("mem://a")
		nb.run("mem://b")
		connect(t, na, nb)
		get(t, slow.connected, "OnConnect")
		start := time.Now()
		if err := pa.a.Send(router.ToNode(nb.Self()), 1, nil); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := other.a.Send(router.ToNode(nb.Self()), 1, nil); err != nil {
				t.Fatal(err)
			}
			if got := get(t, at, "a message for the quick behaviour"); got != start {
				t.Fatalf("the quick behaviour was delayed by %v", got.Sub(start))
			}
		}
		if lines := log.having("runs long"); lines != nil {
			t.Errorf("the watchdog speaks too early: %s", lines)
		}
		time.Sleep(5 * time.Second)
		if lines := log.having("runs long", "callback=OnMessage", "service=70"); len(lines) != 1 {
			t.Errorf("the watchdog said %q, want one line that names OnMessage of service 70", log.lines())
		}
		if n := nb.count("slow_callbacks"); n != 1 {
			t.Errorf("slow_callbacks is %d, want 1", n)
		}
	})
}

// A handler holds up its own connection only, and is named too.
func TestG2SlowHandlerDelaysNoOtherConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var log logs
		pa, pb, pc := newProbe(), newProbe(), newProbe()
		at := make(chan time.Time, 10)
		var slow identity.NodeID
		pb.onConnect = func(_ *agent.Behavior, c conn.Info) behavior.Handler {
			return &handler{onMessage: func(a *agent.Handler, _ *conn.Message) {
				if a.Info().Node == slow {
					time.Sleep(3 * time.Second)
				}
				at <- time.Now()
			}}
		}
		na, nb, nc := b.with(1, pa), b.with(2, pb, logTo(&log)), b.with(3, pc)
		slow = na.Self()
		connect(t, na, nb)
		connect(t, nc, nb)
		ca, cc := get(t, pa.connected, "a"), get(t, pc.connected, "c")
		synctest.Wait() // only the readers will want the turns of the links: waiting for a mutex stops a bubble's clock
		start := time.Now()
		if err := pa.a.Send(router.ToConn(ca.ID), 1, nil); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := pc.a.Send(router.ToConn(cc.ID), 1, nil); err != nil {
				t.Fatal(err)
			}
			if got := get(t, at, "a message of c"); got != start {
				t.Fatalf("a handler of another connection was delayed by %v", got.Sub(start))
			}
		}
		if got := get(t, at, "the message of a"); got.Sub(start) != 3*time.Second {
			t.Errorf("the slow handler took %v", got.Sub(start))
		}
		if lines := log.having("runs long", "callback=OnMessage", "service=70", "conn="); len(lines) != 1 {
			t.Errorf("the watchdog said %q, want one line that names OnMessage of the handler of service 70", log.lines())
		}
	})
}

func register(t testing.TB, h *host, id identity.ServiceID, b behavior.Behavior) {
	t.Helper()
	if err := h.Register(id, b); err != nil {
		t.Fatal(err)
	}
}
