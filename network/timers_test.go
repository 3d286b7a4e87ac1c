package network_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

func TestTimers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		start := time.Now()
		pa, pb := newProbe(), newProbe()
		handlers := make(chan *agent.Handler, 1)
		pa.onEvent = func(_ *agent.Behavior, from conn.Info, ev any) {
			j.add("behaviour %v %v %v", ev, from.ID, time.Since(start))
		}
		pa.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
			return &handler{
				onOpen: func(a *agent.Handler) { handlers <- a },
				onEvent: func(_ *agent.Handler, from conn.Info, ev any) {
					j.add("handler %v %v %v", ev, from.ID, time.Since(start))
				},
			}
		}
		na, nb := b.with(1, pa), b.with(2, pb)
		connect(t, na, nb)
		h := get(t, handlers, "OnOpen")
		pa.a.After(3*time.Second, "three")
		pa.a.After(time.Second, "one")
		pa.a.After(2*time.Second, "never").Stop()
		h.After(2*time.Second, "two")
		h.After(time.Second, "never").Stop()
		fired := pa.a.After(0, "now")
		h.After(time.Hour, "too late")
		time.Sleep(4 * time.Second)
		fired.Stop() // a timer that has fired may be stopped
		agent.Timer{}.Stop()
		want := []string{"behaviour now 0 0s", "behaviour one 0 1s", "handler two 1 2s", "behaviour three 0 3s"}
		j.want(t, want...)
		na.close()
		time.Sleep(2 * time.Hour)
		j.want(t, want...) // timers end with the connection and the behaviour
		h.After(0, "too late").Stop()
	})
}

// A timer's event arrives even where the queue of events is full.
func TestTimerAndFullQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa, pb := newProbe(), newProbe()
		gate := make(chan struct{})
		seen := make(chan any, 10000)
		handlers := make(chan *agent.Handler, 1)
		pa.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
			return &handler{
				onOpen: func(a *agent.Handler) { handlers <- a },
				onEvent: func(_ *agent.Handler, _ conn.Info, ev any) {
					if ev == "block" {
						<-gate
					}
					seen <- ev
				},
			}
		}
		na, nb := b.with(1, pa), b.with(2, pb)
		connect(t, na, nb)
		h := get(t, handlers, "OnOpen")
		synctest.Wait()
		id := h.Info().ID
		if err := pa.a.Notify(id, "block"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		n := 0
		for ; ; n++ {
			if err := pa.a.Notify(id, n); errors.Is(err, agent.ErrQueueFull) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if n != 4096 {
			t.Errorf("%d events were queued, want Limits.ConnEvents, 4096", n)
		}
		h.After(time.Second, "timer")
		time.Sleep(2 * time.Second)
		close(gate)
		for range n + 1 {
			get(t, seen, "an event")
		}
		if ev := get(t, seen, "the timer"); ev != "timer" {
			t.Errorf("got %v, want the timer's event", ev)
		}
	})
}

// Ticks come at their interval; one that finds its callback busy is skipped.
func TestTicks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		start := time.Now()
		pa, pb := newProbe(), newProbe()
		pa.info.Tick = time.Second
		busy := 3500 * time.Millisecond
		pa.onTick = func(_ *agent.Behavior, now time.Time) {
			if !now.Equal(time.Now()) {
				t.Errorf("OnTick at %v is told %v", time.Now(), now)
			}
			j.add("%v", time.Since(start))
			time.Sleep(busy)
			busy = 0
		}
		ticks := 0
		pa.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
			return &handler{onTick: func(*agent.Handler, time.Time) { ticks++ }}
		}
		na, nb := b.with(1, pa), b.with(2, pb)
		connect(t, na, nb)
		time.Sleep(7500 * time.Millisecond)
		// The tick of 2 s waits for that of 1 s; those of 3 s and 4 s find it waiting.
		j.want(t, "1s", "4.5s", "5s", "6s", "7s")
		na.close()
		if ticks < 3 || ticks > 7 {
			t.Errorf("the handler had %d ticks", ticks)
		}
		time.Sleep(time.Minute)
		if n := len(j.lines()); n != 5 {
			t.Errorf("%d ticks after the end", n-5)
		}
	})
}

func TestDoAndPost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		var events []any
		p.onEvent = func(_ *agent.Behavior, from conn.Info, ev any) {
			if from != (conn.Info{}) {
				t.Errorf("an own event comes from %+v", from)
			}
			events = append(events, ev)
		}
		h := b.with(1, p)
		ctx := soon(t)
		for i := range 3 {
			if err := p.a.Post(ctx, i); err != nil {
				t.Fatal(err)
			}
			if err := p.a.Tell(i + 10); err != nil {
				t.Fatal(err)
			}
		}
		var got []any
		if err := p.a.Do(ctx, func() { got = append(got, events...) }); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != "[0 10 1 11 2 12]" {
			t.Errorf("events %v: Do runs after what was queued before", got)
		}
		release := make(chan struct{})
		go p.a.Do(ctx, func() { <-release })
		synctest.Wait()
		short, cancel := context.WithTimeoutCause(ctx, time.Second, errors.New("too long"))
		defer cancel()
		ran := false
		if err := p.a.Do(short, func() { ran = true }); err == nil || err.Error() != "too long" {
			t.Errorf("Do while the behaviour is busy: %v, want the cause of its context", err)
		}
		close(release)
		h.close()
		if !ran {
			t.Error("a function that Do gave up waiting for did not run")
		}
	})
}

// Events go from behaviour to handler, between handlers, and back.
func TestNotify(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		p, pb, pc := newProbe(), newProbe(), newProbe()
		handlers := make(chan *agent.Handler, 2)
		p.onConnect = func(_ *agent.Behavior, c conn.Info) behavior.Handler {
			if c.ID == 3 {
				return nil
			}
			return &handler{
				onOpen: func(a *agent.Handler) { handlers <- a },
				onEvent: func(a *agent.Handler, from conn.Info, ev any) {
					j.add("handler %d got %v from %d", a.Info().ID, ev, from.ID)
					if ev == "ping" {
						if err := a.Notify(from.ID, "pong"); err != nil {
							t.Error(err)
						}
					}
				},
			}
		}
		p.onEvent = func(_ *agent.Behavior, from conn.Info, ev any) { j.add("behaviour got %v from %d", ev, from.ID) }
		h, nb, nc, nd := b.with(1, p), b.with(2, pb), b.with(3, pc), b.with(4, newProbe())
		connect(t, h, nb)
		h1 := get(t, handlers, "the first handler")
		connect(t, h, nc)
		h2 := get(t, handlers, "the second handler")
		connect(t, h, nd)
		synctest.Wait()
		if err := h1.Notify(h2.Info().ID, "ping"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := h1.Tell("told"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := p.a.Notify(h1.Info().ID, "notified"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		j.want(t, "handler 2 got ping from 1", "handler 1 got pong from 2", "behaviour got told from 1", "handler 1 got notified from 0")
		if err := p.a.Notify(3, 1); !errors.Is(err, agent.ErrNoHandler) {
			t.Errorf("Notify where OnConnect returned no handler: %v", err)
		}
		if err := p.a.Notify(99, 1); !errors.Is(err, agent.ErrNoConn) {
			t.Errorf("Notify of no connection: %v", err)
		}
	})
}

// Unreliable messages take datagrams where they fit, and the stream where not.
func TestUnreliable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		for _, withHandler := range []bool{false, true} {
			pa, pb := newProbe(), newProbe()
			got := make(chan int, 100)
			pb.onMessage = func(_ *agent.Behavior, m *conn.Message) { got <- len(m.Payload) }
			if withHandler {
				pb.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
					return &handler{onMessage: func(_ *agent.Handler, m *conn.Message) { got <- len(m.Payload) }}
				}
			}
			na, nb := b.with(1, pa), b.with(2, pb)
			info := connect(t, na, nb)
			synctest.Wait()
			for i := range 10 {
				if err := pa.a.SendMessage(agent.Outgoing{To: router.ToConn(info.ID), Payload: make([]byte, i), Unreliable: true}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // the receiver listens once it has been told of datagrams
			}
			if err := pa.a.SendMessage(agent.Outgoing{To: router.ToConn(info.ID), Payload: make([]byte, 5000), Unreliable: true}); err != nil {
				t.Fatal(err)
			}
			sum := 0
			for range 11 {
				sum += get(t, got, "a message")
			}
			if sum != 45+5000 {
				t.Errorf("the messages had %d bytes", sum)
			}
			if s, _ := pa.a.Stats(info.ID); s.PacketsSent != 10 {
				t.Errorf("%d datagrams were sent, want 10", s.PacketsSent)
			}
			if err := pa.a.SendMessage(agent.Outgoing{To: router.ToConn(info.ID).At(99), Unreliable: true}); !errors.Is(err, agent.ErrNoService) {
				t.Errorf("to a service that is not there: %v", err)
			}
			na.close()
			nb.close()
		}
	})
}

// State is a consistent picture while everything changes.
func TestState(t *testing.T) {
	b := newBench(t)
	pa := newProbe()
	pa.onConnect = func(a *agent.Behavior, c conn.Info) behavior.Handler {
		_ = a.Send(router.ToConn(c.ID), 1, []byte("hi")) // may be too late
		return nil
	}
	na, nb := b.with(1, pa), b.host(2)
	register(t, nb, service, &quiet{})
	nb.run("mem://b")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 300 {
			info, err := na.Connect(soon(t), nb.peer())
			if err != nil {
				t.Error(err)
				return
			}
			_ = pa.a.Close(info.ID, nil) // the other end may be faster
			<-pa.connected
			<-pa.lost
		}
	}()
	seen := 0
	for running := true; running; {
		runtime.Gosched() // with one processor too
		select {
		case <-done:
			running = false
		default:
		}
		for _, h := range []*host{na, nb} {
			s := h.State()
			if len(s.Conns) > 1 || len(s.Services) != 1 || s.Node != h.Self() || len(s.Addresses) != 1 {
				t.Fatalf("state: %+v", s)
			}
			if n := s.Counters["conns_opened"] - s.Counters["conns_closed"]; n > 2 {
				t.Fatalf("%d connections were opened and not closed", n)
			}
			for _, c := range s.Conns {
				seen++
				if c.Node == h.Self() || c.ID == 0 || c.Opened.IsZero() || len(c.Services) > 1 {
					t.Fatalf("connection: %+v", c)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no state showed a connection")
	}
	na.close()
	nb.close()
	for _, h := range []*host{na, nb} {
		if s := h.State(); s.Counters["conns_opened"] != 300 || s.Counters["conns_closed"] != 300 || s.Counters["panics"] != 0 {
			t.Errorf("counters: %v", s.Counters)
		}
	}
}
