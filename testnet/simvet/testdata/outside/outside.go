// Package outside has no behaviours, but what looks like them.
package outside

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
)

// callback is what behaviours have, but nobody has it.
func OnMessage(a *agent.Behavior, m *conn.Message) { _ = time.Now() }

type (
	message struct{}
	wrong   struct{}
	mux     struct{ b *tested }
	tested  struct{}
	iface   interface {
		OnMessage(a *agent.Behavior, m *conn.Message)
	}
)

func (wrong) OnMessage(a *agent.Behavior, m message) { _ = time.Now() }
func (wrong) Take(a *agent.Behavior, m *conn.Message) {
	time.Sleep(1)
}

func (mux) Handle(f func()) { f() }

func (*tested) tick() { time.Sleep(1) }

func main() {
	ctx, stop := context.WithTimeout(context.Background(), time.Second)
	defer stop()
	go func() { <-ctx.Done() }()
	mux{}.Handle(func() { _ = rand.IntN(2) })
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
}
