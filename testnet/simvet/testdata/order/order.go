// Package order acts in the order of maps.
package order

import (
	"context"
	"maps"
	"slices"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

const greet = behavior.Message[string](1)

var sum = rpc.NewMethod[int, int]("sum")

type set map[identity.ConnID]string

type B struct {
	rpc.Server
	names set
}

func (b *B) OnMessage(a *agent.Behavior, m *conn.Message) {
	for id := range b.names { // want `^a.Send in a range over a map comes in another order each time: range over sorted keys, slices.Sorted\(maps.Keys\(m\)\)$`
		_ = a.Send(router.ToConn(id), 1, nil)
		_ = a.Close(id, nil)
	}
	for id := range maps.Keys(b.names) { // want `^a.Close in a range`
		_ = a.Close(id, nil)
	}
	for range b.names { // want `^a.Broadcast in a range`
		if a.Broadcast(1, nil) > 0 {
			break
		}
	}
	for id, name := range b.names { // want `^greet.Send in a range`
		_ = greet.Send(a, router.ToConn(id), name)
	}
	for id := range b.names { // want `^sum.Go in a range`
		_ = sum.Go(&b.Client, router.ToConn(id), 1, func(int, error) {})
	}
	for range b.names { // want `^a.Rand in a range`
		_ = a.Rand().IntN(2)
	}

	for _, id := range slices.Sorted(maps.Keys(b.names)) {
		_ = a.Send(router.ToConn(id), 1, nil)
	}
	for _, c := range a.Conns() {
		_ = a.Close(c.ID, nil)
	}
	n := 0
	for id, name := range b.names {
		if _, ok := a.Stats(id); ok && len(name) > 1 {
			a.Log().Debug("counted")
			n++
		}
	}
}

func (b *B) Sum(ctx context.Context) {
	for id := range maps.All(b.names) { // want `^sum.Call in a range`
		_, _ = sum.Call(ctx, &b.Client, router.ToConn(id), 1)
	}
}

type H struct{ names set }

func (h *H) OnMessage(a *agent.Handler, m *conn.Message) {
	for range h.names { // want `^a.Reply in a range`
		_ = a.Reply(1, nil)
	}
}
