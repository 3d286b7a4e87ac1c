package agenttest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// equal fails the test if a record is not what it should be.
func equal(t *testing.T, rule string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", rule, got, want)
	}
}

func TestText(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	alice := rec.Connect(conn.Info{Node: agenttest.Node("alice")})
	b, h := rec.Behavior(), rec.Handler(alice.ID)
	type event struct {
		N int
		P *int
	}
	peer := identity.PeerAddress{ID: agenttest.Node("carol"), Addresses: []identity.Address{{Scheme: "mem", Host: "a"}, {Scheme: "mem", Host: "b"}}}

	cases := []struct {
		name string
		do   func()
		want string
	}{
		{"send", func() { b.Send(router.ToNode(alice.Node), 1, []byte("hi\x00")) }, `send node:alice222 kind=1 "hi\x00"`},
		{"send to a service elsewhere", func() { b.Send(router.ToConn(1).At(70), 1, nil) }, `send conn:1/70 kind=1 ""`},
		{"options", func() {
			b.SendMessage(agent.Outgoing{To: router.ToService(9), Kind: 3, ID: 7, Report: true, ToBehavior: true, Unreliable: true})
		},
			`send service:9 kind=3 "" report=7 to-behavior unreliable`},
		{"long payload", func() { b.Send(router.ToConn(1), 1, make([]byte, 65)) },
			`send conn:1 kind=1 "` + strings.Repeat(`\x00`, 64) + `"... 65 bytes 98ce42de`},
		{"notify", func() { b.Notify(1, event{N: 1}) }, `notify conn:1 agenttest_test.event{N:1, P:(*int)(nil)}`},
		{"no addresses of memory", func() { b.Tell(&event{P: new(int)}) }, `tell &agenttest_test.event{N:0, P:(*int)(...)}`},
		{"post", func() { b.Post(t.Context(), "x") }, `post "x"`},
		{"do", func() { b.Do(t.Context(), func() {}) }, `do`},
		{"after", func() { b.After(time.Second, 7) }, `after 1s 7`},
		{"dial", func() { b.Dial(peer) }, `dial carol222@mem://a,mem://b`},
		{"close", func() { b.Close(1, errors.New("too slow")) }, `close conn:1: too slow`},
		{"authorize", func() { b.Authorize(1) }, `authorize conn:1`},
		{"failed", func() { b.Authorize(2) }, `authorize conn:2 (agent: no such connection)`},
		{"handler replies", func() { h.Reply(1, nil) }, `conn:1 send conn:1 kind=1 ""`},
		{"handler tells", func() { h.Tell(1) }, `conn:1 tell 1`},
		{"handler closes", func() { h.Close(nil) }, `conn:1 close conn:1`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.do()
			equal(t, "one line for each call", rec.Take(), c.want)
		})
	}
}

func TestTextOfHugeEvents(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	rec.Behavior().Tell(strings.Repeat("x", 10_000))
	if s := rec.Take()[0]; len(s) > 500 || !strings.Contains(s, "... 10002 bytes ") {
		t.Errorf("got %d bytes: %q; want a cut text", len(s), s)
	}
}

// TestAnswers: agents answer as a node would.
func TestAnswers(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	c := rec.Connect(conn.Info{})
	readOnly := rec.Connect(conn.Info{})
	rec.SetStats(readOnly.ID, conn.Stats{ReadOnly: true, Queued: 3})
	b := rec.Behavior()
	gone := rec.Connect(conn.Info{})
	goneHandler := rec.Handler(gone.ID)
	rec.Disconnect(gone.ID, nil)

	cases := []struct {
		name string
		got  error
		want error
	}{
		{"send", b.Send(router.ToConn(c.ID), 1, nil), nil},
		{"send to nowhere", b.Send(router.Route{}, 1, nil), agent.ErrNoRoute},
		{"send to no connection", b.Send(router.ToConn(9), 1, nil), agent.ErrNoConn},
		{"send to a closed connection", b.Send(router.ToConn(gone.ID), 1, nil), agent.ErrNoConn},
		{"send to read-only", b.Send(router.ToConn(readOnly.ID), 1, nil), conn.ErrReadOnly},
		{"dial itself", b.Dial(identity.PeerAddress{ID: b.Self()}), agent.ErrSelf},
		{"dial a neighbour", b.Dial(identity.PeerAddress{ID: c.Node}), agent.ErrConnected},
		{"dial", b.Dial(identity.PeerAddress{ID: agenttest.Node("carol")}), nil},
		{"notify nobody", b.Notify(9, 1), agent.ErrNoConn},
		{"authorize", b.Authorize(readOnly.ID), nil},
		{"send after authorize", b.Send(router.ToConn(readOnly.ID), 1, nil), nil},
		{"a closing handler still tells", goneHandler.Tell(1), nil},
	}
	for _, c := range cases {
		if c.got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, c.got, c.want)
		}
	}
	if s, ok := b.Stats(readOnly.ID); !ok || s.Queued != 3 || s.ReadOnly {
		t.Errorf("Stats: got %+v, %v; want what SetStats set, authorised", s, ok)
	}
	if got := b.Conns(); len(got) != 2 || got[0] != c || got[1] != readOnly {
		t.Errorf("Conns: got %v; want the open connections, oldest first", got)
	}
	rec.Stop(errors.New("over"))
	if err := b.Send(router.ToConn(c.ID), 1, nil); err != agent.ErrStopped {
		t.Errorf("send after Stop: got %v, want ErrStopped", err)
	}
	if err := context.Cause(rec.Handler(c.ID).Context()); err == nil || err.Error() != "over" {
		t.Errorf("context after Stop: got cause %v, want over", err)
	}
}

func TestPayloadIsCopied(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	p := []byte("before")
	rec.Behavior().Send(router.ToNode(agenttest.Node("a")), 1, p)
	copy(p, "after!")
	if got := string(rec.TakeCalls()[0].Message.Payload); got != "before" {
		t.Errorf("got %q, want the payload at the time of Send", got)
	}
}

// ticker re-arms its timer and writes down when each came.
type ticker struct {
	at  []time.Duration
	t0  time.Time
	ask func(a *agent.Behavior)
}

func (x *ticker) OnEvent(a *agent.Behavior, _ conn.Info, _ any) {
	x.at = append(x.at, a.Now().Sub(x.t0))
	x.ask(a)
}

// TestAdvance: timers that callbacks set fire on the way, each at its time.
func TestAdvance(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	b := rec.Behavior()
	x := &ticker{t0: b.Now(), ask: func(a *agent.Behavior) { a.After(time.Second, 0) }}
	rec.DeliverTo(x)
	b.After(500*time.Millisecond, 0)
	rec.Advance(3 * time.Second)
	want := []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond, 2500 * time.Millisecond}
	if !slices.Equal(x.at, want) {
		t.Errorf("fired at %v, want %v", x.at, want)
	}
	if got := b.Now().Sub(x.t0); got != 3*time.Second {
		t.Errorf("clock moved by %v, want 3s", got)
	}
	if d, ok := rec.NextTimer(); !ok || d != 500*time.Millisecond {
		t.Errorf("NextTimer: got %v, %v, want 500ms", d, ok)
	}
}

func TestAdvanceEndsLivelock(t *testing.T) {
	for name, ask := range map[string]func(a *agent.Behavior){
		"tell":  func(a *agent.Behavior) { a.Tell(0) },
		"timer": func(a *agent.Behavior) { a.After(0, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			rec := agenttest.New(agenttest.Config{})
			rec.DeliverTo(&ticker{ask: ask})
			ask(rec.Behavior())
			defer func() {
				if s, _ := recover().(string); !strings.Contains(s, "never end") {
					t.Errorf("got panic %q, want one that says that events never end", s)
				}
			}()
			rec.Advance(time.Second)
		})
	}
}

// TestTimers: order, Stop, and that timers end with their connection.
func TestTimers(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	c := rec.Connect(conn.Info{})
	b, h := rec.Behavior(), rec.Handler(c.ID)
	b.After(2*time.Second, "late")
	b.After(time.Second, "first")
	b.After(time.Second, "second")
	stopped := b.After(time.Second, "stopped")
	h.After(time.Second, "handler's")
	rec.Take()
	stopped.Stop()
	stopped.Stop()
	equal(t, "a timer is stopped once", rec.Take(), `cancel "stopped"`)

	rec.Advance(time.Second)
	want := []agenttest.Event{{Value: "first"}, {Value: "second"}, {To: c.ID, From: c, Value: "handler's"}}
	if got := rec.Events(); !slices.Equal(got, want) {
		t.Errorf("events after 1s: got %v, want %v", got, want)
	}
	h.After(time.Second, "never")
	rec.Disconnect(c.ID, nil)
	rec.Advance(time.Hour)
	if got := rec.Events(); len(got) != 1 || got[0].Value != "late" {
		t.Errorf("events after an hour: got %v, want late only", got)
	}
	if (h.After(1, 1) != agent.Timer{}) {
		t.Error("a timer of a closed connection was set")
	}
}

// recv remembers what it received.
type recv struct{ got []any }

func (x *recv) OnEvent(_ *agent.Handler, from conn.Info, ev any) { x.got = append(x.got, from.ID, ev) }

func TestNotifyReachesHandlers(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	one, two := rec.Connect(conn.Info{}), rec.Connect(conn.Info{})
	h := &recv{}
	rec.DeliverToHandler(one.ID, h)
	rec.Behavior().Notify(one.ID, "from behaviour")
	rec.Handler(two.ID).Notify(one.ID, "from sibling")
	rec.Behavior().Notify(two.ID, "no receiver")
	rec.Advance(0)
	want := []any{identity.ConnID(0), "from behaviour", two.ID, "from sibling"}
	if !slices.Equal(h.got, want) {
		t.Errorf("got %v, want %v", h.got, want)
	}
	if ev := rec.Events(); len(ev) != 1 || ev[0].To != two.ID {
		t.Errorf("events left: %v, want the one without a receiver", ev)
	}
}

// TestFailEndsSendWait: SendWait goes on when the queue is no longer full.
func TestFailEndsSendWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := agenttest.New(agenttest.Config{})
		c := rec.Connect(conn.Info{})
		rec.Fail(agent.ErrQueueFull)
		done := make(chan error)
		go func() { done <- rec.Behavior().SendWait(t.Context(), router.ToConn(c.ID), 1, nil) }()
		synctest.Wait()
		rec.Advance(time.Second)
		synctest.Wait()
		rec.Fail(nil)
		if err := <-done; err != nil {
			t.Errorf("got %v, want nil", err)
		}
		full := `send conn:1 kind=1 "" (agent: queue full)`
		equal(t, "tried at first, after Advance and after Fail", rec.Take(), full, full, `send conn:1 kind=1 ""`)
	})
}

// TestTurn: Do waits for the callback that runs, and not for ever.
func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := agenttest.New(agenttest.Config{})
		var order []string
		done := make(chan error)
		rec.Turn(func() {
			go func() { done <- rec.Behavior().Do(t.Context(), func() { order = append(order, "do") }) }()
			synctest.Wait()
			order = append(order, "callback")
		})
		if err := <-done; err != nil || !slices.Equal(order, []string{"callback", "do"}) {
			t.Errorf("got %v in order %v; Do runs after the callback", err, order)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		rec.Turn(func() {
			if err := rec.Behavior().Do(ctx, func() {}); err != context.DeadlineExceeded {
				t.Errorf("Do that waits for itself: got %v, want its context's cause", err)
			}
			if err := rec.Behavior().Do(context.Background(), func() {}); err == nil || !strings.Contains(err.Error(), "called from a callback") {
				t.Errorf("Do that waits for itself: got %v, want an error that says why", err)
			}
		})
	})
}

// TestSameSeedSameRandomness also checks that seeds differ.
func TestSameSeedSameRandomness(t *testing.T) {
	draw := func(seed uint64) uint64 {
		return agenttest.New(agenttest.Config{Seed: seed}).Behavior().Rand().Uint64()
	}
	if one, again, two := draw(1), draw(1), draw(2); one != again || one == two {
		t.Error("randomness must depend on the seed alone")
	}
}

func TestMisuse(t *testing.T) {
	cases := map[string]func(rec *agenttest.Recorder){
		"connection 9 is not open":          func(rec *agenttest.Recorder) { rec.Handler(9) },
		"IDs count up":                      func(rec *agenttest.Recorder) { rec.Connect(conn.Info{ID: 5}); rec.Connect(conn.Info{ID: 5}) },
		`node name "Bob"`:                   func(*agenttest.Recorder) { agenttest.Node("Bob") },
		`node name "" is empty or longer`:   func(*agenttest.Recorder) { agenttest.Node("") },
		"agenttest: connection 2 is not op": func(rec *agenttest.Recorder) { rec.Connect(conn.Info{}); rec.Disconnect(2, nil) },
	}
	for want, f := range cases {
		t.Run(want, func(t *testing.T) {
			defer func() {
				if s, _ := recover().(string); !strings.Contains(s, want) {
					t.Errorf("got panic %q, want %q", s, want)
				}
			}()
			f(agenttest.New(agenttest.Config{}))
		})
	}
}
