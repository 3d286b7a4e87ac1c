package behaviortest

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// good does something in every callback, and keeps the rules.
type good struct {
	behavior.Mux
	peers   map[identity.ConnID]conn.Info
	order   []identity.ConnID
	last    []byte
	cancel  context.CancelFunc
	checked int
}

type (
	work  struct{ N int }
	note  struct{ Text string }
	again struct{}
)

const (
	msgWork = behavior.Message[work](1)
	msgRaw  = behavior.Message[[]byte](2)
)

func newGood() behavior.Behavior {
	g := &good{peers: make(map[identity.ConnID]conn.Info)}
	behavior.On(&g.Mux, msgWork, func(a *agent.Behavior, m *conn.Message, w work) {
		if w.N < 3 {
			_ = msgWork.Send(a, router.ToNode(m.From), work{w.N + a.Rand().IntN(5)})
		}
	})
	behavior.On(&g.Mux, msgRaw, func(_ *agent.Behavior, _ *conn.Message, p []byte) { g.last = bytes.Clone(p) })
	return g
}

func (g *good) Describe() behavior.Info {
	return behavior.Info{Name: "good", Version: 1, Tick: 5 * time.Second}
}

// OnStart starts a goroutine that works in the background and comes home.
func (g *good) OnStart(a *agent.Behavior) error {
	ctx, cancel := context.WithCancel(a.Context())
	g.cancel = cancel
	a.After(time.Second, again{})
	jobs := make(chan int, 1)
	jobs <- 1
	go func() {
		for {
			select {
			case n := <-jobs:
				_ = a.Post(ctx, work{n})
				_ = a.Do(ctx, func() { g.checked++ })
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

func (g *good) OnStop(a *agent.Behavior) {
	a.Broadcast(9, g.last)
	if g.cancel != nil {
		g.cancel()
	}
}

func (g *good) Admit(_ *agent.Behavior, p conn.Peer) error {
	if p.Node.Short()[0] == 'd' {
		return errors.New("no daves")
	}
	if p.Node.Short()[0] == 'e' {
		return conn.ErrReadOnly
	}
	return nil
}

func (g *good) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
	g.peers[c.ID] = c
	g.order = append(g.order, c.ID)
	_ = msgWork.Send(a, router.ToConn(c.ID), work{1})
	if c.ID%2 == 0 {
		return &goodHandler{}
	}
	return nil
}

func (g *good) OnDisconnect(a *agent.Behavior, c conn.Info, _ error) {
	delete(g.peers, c.ID)
	for i, id := range g.order {
		if id == c.ID {
			g.order = append(g.order[:i], g.order[i+1:]...)
			break
		}
	}
	_ = a.Dial(identity.PeerAddress{ID: c.Node, Addresses: []identity.Address{c.Remote}})
}

func (g *good) OnTick(a *agent.Behavior, now time.Time) {
	a.BroadcastRandom(2, 3, []byte(now.Format(time.RFC3339)))
	for _, id := range g.order {
		_ = a.Notify(id, note{"tick"})
	}
}

func (g *good) OnDialError(*agent.Behavior, conn.Dial, error) {}

func (g *good) OnReport(a *agent.Behavior, r agent.Report) {
	a.After(time.Second, note{r.Failure.Error()})
}

func (g *good) OnEvent(a *agent.Behavior, _ conn.Info, ev any) {
	switch ev.(type) {
	case again:
		_ = msgRaw.Send(a, router.ToService(70), g.last)
		a.After(10*time.Second, again{})
	case note:
		a.Broadcast(4, nil)
	}
}

// goodHandler echoes on its connection and tells its behaviour.
type goodHandler struct{ seen int }

func (h *goodHandler) OnOpen(a *agent.Handler) { a.After(time.Second, again{}) }
func (h *goodHandler) OnMessage(a *agent.Handler, m *conn.Message) {
	h.seen++
	if m.Kind < 3 && h.seen < 100 {
		_ = a.Reply(m.Kind, m.Payload)
	}
	_ = a.Tell(note{"seen"})
}
func (h *goodHandler) OnTick(a *agent.Handler, _ time.Time) { _ = a.Reply(5, nil) }
func (h *goodHandler) OnEvent(a *agent.Handler, _ conn.Info, ev any) {
	if _, ok := ev.(again); ok {
		a.After(30*time.Second, again{})
	}
}
func (h *goodHandler) OnClose(a *agent.Handler, _ error) { _ = a.Tell(note{"closed"}) }

// quota is a part that takes kinds from 200 to 250 and counts connections.
type quota struct{ ended atomic.Int64 }

func (q *quota) Take(a *agent.Behavior, m *conn.Message) bool {
	if m.Kind < 200 || m.Kind > 250 {
		return false
	}
	_ = a.Send(router.ToNode(m.From), 200, m.Payload)
	return true
}
func (q *quota) Parts() []behavior.Part                           { return []behavior.Part{q} }
func (q *quota) PartStart(a *agent.Behavior)                      { _ = a.Send(router.ToService(70), 201, nil) }
func (q *quota) PartStop(a *agent.Behavior)                       { a.Broadcast(202, nil) }
func (q *quota) PartDisconnect(*agent.Behavior, conn.Info, error) { q.ended.Add(1) }
func (q *quota) PartReport(a *agent.Behavior, _ agent.Report) {
	_ = a.Send(router.ToService(70), 203, nil)
}
func (q *quota) OnMessage(a *agent.Behavior, m *conn.Message) {
	_ = a.Send(router.ToNode(m.From), 204, nil)
}
func wrapped() behavior.Behavior { return wrapper{newGood()} }
func parted() behavior.Behavior  { return &quota{} }
func plain() behavior.Behavior   { return behavior.Func(func(*agent.Behavior, *conn.Message) {}) }

// wrapper is middleware.
type wrapper struct{ behavior.Behavior }

func (w wrapper) Unwrap() behavior.Behavior { return w.Behavior }

// TestGood: behaviours that keep the rules pass.
func TestGood(t *testing.T) {
	for name, fresh := range map[string]func() behavior.Behavior{
		"every callback": newGood, "middleware": wrapped, "parts": parted, "function": plain,
	} {
		t.Run(name, func(t *testing.T) { Run(t, fresh, conn.Message{Kind: 1, Payload: []byte{0x81, 0xa1, 'N', 1}}) })
	}
}
