package network_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// That nothing is left running is checked by goleak in TestMain, and by the
// bubbles, which fail when a goroutine outlives them.

func TestG12Shutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		pa, pb := diary(&j), newProbe()
		pa.onStop = func(a *agent.Behavior) {
			j.add("stop")
			for _, c := range a.Conns() {
				for i := range 1000 {
					if err := a.Send(router.ToConn(c.ID), 1, fmt.Append(nil, i)); err != nil {
						t.Error(err)
					}
				}
			}
		}
		second := newProbe()
		second.info.Name = "second"
		second.onStart = func(*agent.Behavior) error { j.add("second start"); return nil }
		second.onStop = func(*agent.Behavior) { j.add("second stop") }
		na := b.host(1)
		register(t, na, service, pa)
		register(t, na, 71, second)
		na.run("mem://a")
		nb := b.with(2, pb)
		connect(t, na, nb)
		get(t, pb.connected, "OnConnect at b")
		get(t, pa.connected, "OnConnect at a")
		synctest.Wait()
		start := time.Now()
		na.close()
		if d := time.Since(start); d > time.Second {
			t.Errorf("the shutdown took %v", d)
		}
		if err := get(t, na.done, "the end of Run"); !errors.Is(err, agent.ErrStopped) {
			t.Errorf("Run: %v", err)
		}
		na.done <- nil
		for i := range 1000 {
			if m := get(t, pb.received, "what OnStop sent"); m.text != fmt.Sprint(i) {
				t.Fatalf("message %d of OnStop is %q", i, m.text)
			}
		}
		wantCode(t, get(t, pb.lost, "OnDisconnect at b"), conn.CodeShutdown)
		j.want(t, "second start", "admit outgoing", "connect 1", "open 1", "second stop", "stop", "close 1 true", "event 1 last words", "disconnect 1 true")
		afterEnd(t, na, nb, pa)
	})
}

// afterEnd checks that a stopped node says so.
func afterEnd(t *testing.T, na, nb *host, p *probe) {
	t.Helper()
	ctx := soon(t)
	_, listen := na.Listen(ctx, "mem://again")
	_, dial := na.Connect(ctx, nb.peer())
	for what, err := range map[string]error{
		"Register": na.Register(99, newProbe()), "Unregister": na.Unregister(service), "Listen": listen, "Add": na.Add(nb.peer()),
	} {
		if !errors.Is(err, agent.ErrStopped) {
			t.Errorf("%s after the end: %v, want agent.ErrStopped", what, err)
		}
	}
	for what, err := range map[string]error{
		"Send": p.a.Send(router.ToNode(nb.Self()), 1, nil), "Tell": p.a.Tell(1), "Post": p.a.Post(ctx, 1), "Dial": p.a.Dial(nb.peer()),
		"Do": p.a.Do(ctx, func() { t.Error("Do after the end ran") }), "Connect": dial,
	} {
		if !errors.Is(err, agent.ErrStopped) {
			t.Errorf("%s after the end: %v, want agent.ErrStopped", what, err)
		}
	}
	p.a.After(0, 1).Stop()
	if err := na.Run(ctx); err == nil {
		t.Error("a second Run worked")
	}
	if err := na.Close(ctx); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if p.a.Context().Err() == nil {
		t.Error("the context of the behaviour has not ended")
	}
	if s := na.State(); len(s.Conns) != 0 || len(s.Addresses) != 0 {
		t.Errorf("the state after the end: %+v", s)
	}
}

// Close may be called from any callback, if it does not wait.
func TestG12CloseFromCallback(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, from := range []string{"OnMessage", "OnConnect", "OnDisconnect", "OnEvent", "Admit", "handler"} {
		t.Run(from, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t)
				pa, pb := newProbe(), newProbe()
				var nb *host
				stop := func(at string) {
					if at == from {
						if err := nb.Close(ended); !errors.Is(err, context.Canceled) {
							t.Errorf("Close: %v", err)
						}
					}
				}
				pb.onMessage = func(*agent.Behavior, *conn.Message) { stop("OnMessage") }
				pb.onEvent = func(*agent.Behavior, conn.Info, any) { stop("OnEvent") }
				pb.admit = func(*agent.Behavior, conn.Peer) error { stop("Admit"); return nil }
				pb.onDisconnect = func(*agent.Behavior, conn.Info, error) { stop("OnDisconnect") }
				pb.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
					stop("OnConnect")
					return &handler{onMessage: func(*agent.Handler, *conn.Message) { stop("handler") }}
				}
				na := b.with(1, pa)
				nb = b.host(2)
				register(t, nb, service, pb)
				nb.run("mem://b")
				if _, err := na.Connect(soon(t), nb.peer()); err == nil {
					c := get(t, pa.connected, "OnConnect at a")
					_ = pa.a.Send(router.ToConn(c.ID), 1, nil)      // b may be
					_ = pa.a.Send(router.ToNode(nb.Self()), 1, nil) // gone
					_ = pb.a.Tell(1)                                // already
					synctest.Wait()
					_ = pa.a.Close(c.ID, nil)
				}
				if err := get(t, nb.done, "the end of Run"); !errors.Is(err, agent.ErrStopped) {
					t.Errorf("Run: %v", err)
				}
				nb.done <- nil
			})
		})
	}
}

// A callback that never returns does not keep the node from ending.
func TestG12ShutdownIsBounded(t *testing.T) {
	for _, who := range []string{"behaviour", "handler", "admit", "silent peer"} {
		t.Run(who, func(t *testing.T) {
			bubble(t, func(t *testing.T) { stuck(t, who) })
		})
	}
}

func stuck(t *testing.T, who string) {
	b := newBench(t)
	pa, pb, quick := newProbe(), newProbe(), newProbe()
	release := make(chan struct{})
	defer close(release)
	block := func(at string) {
		if at == who {
			<-release
		}
	}
	pb.onMessage = func(*agent.Behavior, *conn.Message) { block("behaviour") }
	pb.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
		return &handler{onMessage: func(*agent.Handler, *conn.Message) { block("handler") }}
	}
	pb.admit = func(*agent.Behavior, conn.Peer) error { block("admit"); return nil }
	stopped := false
	quick.info.Name = "quick"
	quick.onStop = func(*agent.Behavior) { stopped = true }
	na, nb := b.with(1, pa), b.host(2)
	register(t, nb, 71, quick)
	register(t, nb, service, pb)
	nb.run("mem://b")
	switch who {
	case "admit":
		if err := na.Add(nb.peer()); err != nil {
			t.Fatal(err)
		}
	case "silent peer":
		b.raw(9, nb)
		b.opened(10, nb)
	default:
		connect(t, na, nb)
		c := get(t, pa.connected, "OnConnect")
		synctest.Wait() // only the reader will want the turn of the link: waiting for a mutex stops a bubble's clock
		for _, to := range []router.Route{router.ToConn(c.ID), router.ToNode(nb.Self())} {
			if err := pa.a.Send(to, 1, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	synctest.Wait()
	start := time.Now()
	nb.close()
	if d := time.Since(start); d > 7*time.Second {
		t.Errorf("the shutdown took %v, Limits.ShutdownTime is 5 s", d)
	}
	if !stopped {
		t.Error("OnStop of another behaviour was not called")
	}
}

func TestG12CloseBeforeRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		p.onStop = func(*agent.Behavior) { t.Error("OnStop without OnStart") }
		h := b.host(1)
		register(t, h, service, p)
		if _, err := h.Listen(t.Context(), "mem://a"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := h.Close(soon(t)); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Run(t.Context()); err == nil {
			t.Error("Run after Close worked")
		}
		if err := h.Register(72, newProbe()); !errors.Is(err, agent.ErrStopped) {
			t.Errorf("Register after Close: %v", err)
		}
	})
}

// Run and Close race for the node: either way it ends, once.
func TestG12CloseWhileRunBegins(t *testing.T) {
	b := newBench(t)
	for i := range 200 {
		p := newProbe()
		var started, stopped int
		p.onStart = func(*agent.Behavior) error { started++; return nil }
		p.onStop = func(*agent.Behavior) { stopped++ }
		h := b.host(1)
		register(t, h, service, p)
		var group sync.WaitGroup
		group.Go(func() {
			if h.Run(context.Background()) == nil {
				t.Error("Run returned nil")
			}
		})
		group.Go(func() {
			if err := h.Close(soon(t)); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		if started != stopped || started > 1 {
			t.Fatalf("round %d: %d starts and %d stops", i, started, stopped)
		}
	}
}

func TestG12RunReturnsCause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(context.Background())
		h := b.host(1)
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		<-h.Started()
		if err := h.Run(ctx); err == nil || errors.Is(err, why) {
			t.Errorf("a second Run beside the first: %v", err)
		}
		cancel(why)
		if err := <-done; !errors.Is(err, why) {
			t.Errorf("Run: %v, want the cause of its context", err)
		}
	})
}

// An error of OnStart ends Run; those who have started stop.
func TestG12StartFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		why := errors.New("no disk")
		h := b.host(1)
		for i := range 3 {
			p := newProbe()
			p.onStart = func(*agent.Behavior) error {
				j.add("start %d", i)
				if i == 1 {
					return why
				}
				return nil
			}
			p.onStop = func(*agent.Behavior) { j.add("stop %d", i) }
			register(t, h, service+identity.ServiceID(i), p)
		}
		if err := h.Run(t.Context()); !errors.Is(err, why) {
			t.Errorf("Run: %v", err)
		}
		select {
		case <-h.Started():
			t.Error("Started is closed")
		default:
		}
		j.want(t, "start 0", "start 1", "stop 0")
	})
}

// Nothing is dialled, admitted or opened before the behaviours have started.
func TestG12NothingBeforeStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		pa, pb := diary(&j), newProbe()
		pa.onStart = func(*agent.Behavior) error { j.add("start"); time.Sleep(time.Second); j.add("started"); return nil }
		nb := b.with(2, pb)
		na := b.host(1)
		register(t, na, service, pa)
		if err := na.Add(nb.peer()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // longer than Limits.DialTime
		na.run("mem://a")
		get(t, pa.connected, "OnConnect")
		synctest.Wait()
		lines := j.lines()
		if want := []string{"start", "started", "admit outgoing", "connect 1", "open 1"}; !slices.Equal(lines, want) {
			t.Errorf("happened %q, want %q", lines, want)
		}
	})
}
