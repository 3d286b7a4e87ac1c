package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// neighbours opens a connection to each of the named nodes, in order.
func neighbours(rec *agenttest.Recorder, names ...string) []conn.Info {
	conns := make([]conn.Info, len(names))
	for i, name := range names {
		conns[i] = rec.Connect(conn.Info{Node: agenttest.Node(name)})
	}
	return conns
}

// delivered returns the nodes that a message was queued to, in order.
func delivered(rec *agenttest.Recorder, conns []conn.Info) (nodes []identity.NodeID) {
	for _, call := range rec.TakeCalls() {
		if call.IsSend() && call.Err == nil {
			i := slices.IndexFunc(conns, func(c conn.Info) bool { return c.ID == call.Message.To.Conn })
			nodes = append(nodes, conns[i].Node)
		}
	}
	return nodes
}

// distinct reports whether no node is there twice.
func distinct(nodes []identity.NodeID) bool {
	seen := make(map[identity.NodeID]bool)
	for _, n := range nodes {
		if seen[n] {
			return false
		}
		seen[n] = true
	}
	return true
}

func TestBroadcast(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	conns := neighbours(rec, "alice", "bob", "alice", "carol", "dave")
	rec.SetStats(conns[3].ID, conn.Stats{ReadOnly: true})

	n := rec.Behavior().Broadcast(7, []byte("hi"))
	got := delivered(rec, conns)
	want := []identity.NodeID{conns[0].Node, conns[1].Node, conns[4].Node}
	if n != 3 || !slices.Equal(got, want) {
		t.Errorf("got %d %v, want each writable node once: %v", n, got, want)
	}
}

// TestBroadcastTriesOtherConnections: a node with two connections is reached over
// the second if the first refuses.
func TestBroadcastTriesOtherConnections(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	conns := neighbours(rec, "alice", "alice")
	rec.SetStats(conns[0].ID, conn.Stats{ReadOnly: true})
	if n := rec.Behavior().Broadcast(7, nil); n != 1 || len(delivered(rec, conns)) != 1 {
		t.Errorf("queued to %d, want 1", n)
	}
}

func TestBroadcastRefused(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	neighbours(rec, "alice", "bob")
	rec.Fail(agent.ErrQueueFull)
	if n := rec.Behavior().Broadcast(7, nil); n != 0 {
		t.Errorf("queued to %d, want 0: every connection refused", n)
	}
}

func TestBroadcastTo(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	conns := neighbours(rec, "alice", "bob", "carol", "alice")
	alice, carol, zoe := conns[0].Node, conns[2].Node, agenttest.Node("zoe")
	cases := []struct {
		name string
		to   []identity.NodeID
		want []identity.NodeID
	}{
		{"nobody", nil, nil},
		{"two", []identity.NodeID{carol, alice}, []identity.NodeID{alice, carol}},
		{"one twice", []identity.NodeID{carol, carol}, []identity.NodeID{carol}},
		{"one that is not connected", []identity.NodeID{zoe, alice}, []identity.NodeID{alice}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := rec.Behavior().BroadcastTo(c.to, 7, nil)
			if got := delivered(rec, conns); n != len(c.want) || !slices.Equal(got, c.want) {
				t.Errorf("got %d %v, want each connected node once: %v", n, got, c.want)
			}
		})
	}
}

// TestBroadcastRandom: exactly min(n, available) different writable nodes.
func TestBroadcastRandom(t *testing.T) {
	rec := agenttest.New(agenttest.Config{Seed: 7})
	// Eight nodes, two of them twice; six nodes may be written to.
	conns := neighbours(rec, "a", "b", "c", "d", "e", "f", "g", "h", "a", "b")
	readOnly := conns[6:8]
	for _, c := range readOnly {
		rec.SetStats(c.ID, conn.Stats{ReadOnly: true})
	}
	const available = 6
	for n := -2; n < 12; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			want := max(0, min(n, available))
			for range 20 {
				sent := rec.Behavior().BroadcastRandom(n, 7, nil)
				got := delivered(rec, conns)
				if sent != want || len(got) != want || !distinct(got) {
					t.Fatalf("queued to %d: %v; want %d different nodes", sent, got, want)
				}
			}
		})
	}
	if n := rec.Behavior().BroadcastRandom(0, 7, nil); n != 0 || len(rec.Take()) != 0 {
		t.Errorf("BroadcastRandom(0) queued to %d, want no attempt", n)
	}
}

// TestBroadcastRandomIsFair: every node is drawn about as often as any other.
func TestBroadcastRandomIsFair(t *testing.T) {
	rec := agenttest.New(agenttest.Config{Seed: 7})
	conns := neighbours(rec, "a", "b", "c", "d", "e", "f")
	count := make(map[identity.NodeID]int)
	const rounds = 6000
	for range rounds {
		rec.Behavior().BroadcastRandom(2, 7, nil)
		for _, n := range delivered(rec, conns) {
			count[n]++
		}
	}
	for _, c := range conns {
		if got, want := count[c.Node], rounds*2/len(conns); got < want*9/10 || got > want*11/10 {
			t.Errorf("%s was drawn %d times, want about %d", c.Node.Short(), got, want)
		}
	}
}

// TestSendWait: it ends with success, with another error, or with its context.
func TestSendWait(t *testing.T) {
	over := errors.New("over")
	cases := []struct {
		name string
		end  func(rec *agenttest.Recorder, cancel context.CancelCauseFunc)
		want error
	}{
		{"room again", func(rec *agenttest.Recorder, _ context.CancelCauseFunc) { rec.Fail(nil) }, nil},
		{"other error", func(rec *agenttest.Recorder, _ context.CancelCauseFunc) { rec.Fail(agent.ErrTooLarge) }, agent.ErrTooLarge},
		{"stopped", func(rec *agenttest.Recorder, _ context.CancelCauseFunc) { rec.Stop(nil) }, agent.ErrStopped},
		{"cancelled", func(_ *agenttest.Recorder, cancel context.CancelCauseFunc) { cancel(over) }, over},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := agenttest.New(agenttest.Config{})
				neighbours(rec, "alice")
				rec.Fail(fmt.Errorf("alice: %w", agent.ErrQueueFull))
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				done := make(chan error, 1)
				go func() { done <- rec.Behavior().SendWait(ctx, router.ToConn(1), 7, nil) }()
				synctest.Wait()
				select {
				case err := <-done:
					t.Fatalf("returned %v while the queue was full", err)
				default:
				}
				c.end(rec, cancel)
				if err := <-done; err != c.want {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		})
	}
}

func TestSendWaitAtOnce(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	neighbours(rec, "alice")
	if err := rec.Behavior().SendWait(t.Context(), router.ToConn(1), 7, nil); err != nil {
		t.Errorf("with room: got %v, want nil", err)
	}
	o := agent.Outgoing{To: router.ToConn(1), Kind: 7, ID: 5, Report: true}
	if err := rec.Behavior().SendMessageWait(t.Context(), o); err != nil {
		t.Errorf("with options: got %v, want nil", err)
	}
	if calls := rec.TakeCalls(); len(calls) != 2 || !calls[1].Message.Report || calls[1].Message.ID != 5 {
		t.Errorf("sent %v, want the second message with its options", calls)
	}
	if err := rec.Behavior().SendWait(t.Context(), router.ToConn(2), 7, nil); err != agent.ErrNoConn {
		t.Errorf("no connection: got %v, want ErrNoConn at once", err)
	}
}

func TestTimer(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	a := rec.Behavior()
	keep, drop := a.After(time.Second, "keep"), a.After(time.Second, "drop")
	drop.Stop()
	rec.Advance(time.Second)
	if ev := rec.Events(); len(ev) != 1 || ev[0].Value != "keep" {
		t.Errorf("events %v, want only that of the timer that was not stopped", ev)
	}
	keep.Stop() // gone already: nothing happens
	agent.Timer{}.Stop()

	rec.Fail(agent.ErrStopped)
	if timer := a.After(time.Second, "refused"); timer != (agent.Timer{}) {
		t.Errorf("After that was refused returned %v, want the zero Timer", timer)
	}
}

// TestErrorsComeBack: what the backend refuses reaches the caller unchanged.
func TestErrorsComeBack(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	neighbours(rec, "alice")
	refused := errors.New("refused")
	rec.Fail(refused)
	a, h := rec.Behavior(), rec.Handler(1)
	cases := map[string]error{
		"Behavior.Send":        a.Send(router.ToConn(1), 1, nil),
		"Behavior.SendMessage": a.SendMessage(agent.Outgoing{To: router.ToConn(1)}),
		"Behavior.SendWait":    a.SendWait(t.Context(), router.ToConn(1), 1, nil),
		"Behavior.Notify":      a.Notify(1, 1),
		"Behavior.Dial":        a.Dial(identity.PeerAddress{ID: agenttest.Node("bob")}),
		"Behavior.Authorize":   a.Authorize(1),
		"Behavior.Close":       a.Close(1, nil),
		"Behavior.Tell":        a.Tell(1),
		"Behavior.Post":        a.Post(t.Context(), 1),
		"Behavior.Do":          a.Do(t.Context(), func() { t.Error("Do ran its function though it was refused") }),
		"Handler.Send":         h.Send(router.ToConn(1), 1, nil),
		"Handler.Reply":        h.Reply(1, nil),
		"Handler.Notify":       h.Notify(1, 1),
		"Handler.Tell":         h.Tell(1),
		"Handler.Close":        h.Close(nil),
	}
	for name, err := range cases {
		if err != refused {
			t.Errorf("%s: got %v, want what the backend answered", name, err)
		}
	}
}

// TestSurroundings: what agents say of the world they act in.
func TestSurroundings(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rec := agenttest.New(agenttest.Config{Self: agenttest.Node("me"), Service: 70, Start: start})
	c := neighbours(rec, "alice")[0]
	a, h := rec.Behavior(), rec.Handler(c.ID)
	rec.SetStats(c.ID, conn.Stats{Queued: 5})
	rec.Advance(time.Minute)

	if a.Self() != agenttest.Node("me") || a.Service() != 70 || !a.Now().Equal(start.Add(time.Minute)) || a.Log() == nil {
		t.Errorf("got %s %s %s %v", a.Self(), a.Service(), a.Now(), a.Log())
	}
	if h.Info() != c || h.Stats().Queued != 5 {
		t.Errorf("handler: got %v %v, want the connection and its statistics", h.Info(), h.Stats())
	}
	if got := a.Conns(); len(got) != 1 || got[0] != c {
		t.Errorf("Conns: got %v, want %v", got, c)
	}
	cause := errors.New("cable cut")
	rec.Disconnect(c.ID, cause)
	if err := context.Cause(h.Context()); err != cause {
		t.Errorf("handler's context: got cause %v, want why its connection ended", err)
	}
	if a.Context().Err() != nil {
		t.Error("the behaviour's context ended with a connection")
	}
	if _, ok := a.Stats(c.ID); ok || h.Stats() != (conn.Stats{}) {
		t.Error("statistics of a connection that is gone")
	}
}

// discard is a backend that does nothing, to measure agents alone.
type discard struct{}

func (discard) Send(agent.Outgoing) error                    { return nil }
func (discard) Do(agent.Op) error                            { return nil }
func (discard) Ready(router.Route) <-chan struct{}           { return nil }
func (discard) Conns() []conn.Info                           { return nil }
func (discard) Stats(identity.ConnID) (s conn.Stats, b bool) { return }

// TestSendAllocatesNothing is the promise of Send.
func TestSendAllocatesNothing(t *testing.T) {
	a := agent.NewBehavior(agent.Env{Backend: discard{}})
	payload := make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() { a.Send(router.ToConn(1), 1, payload) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
