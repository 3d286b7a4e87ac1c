package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// Services of the nodes that this command runs.
const (
	demoService  identity.ServiceID = 70 // on every node
	clockService identity.ServiceID = 71 // on every fourth node of a network
)

// Methods of the demo.
var (
	echo   = rpc.NewMethod[string, string]("echo").Within(callTime)
	whoami = rpc.NewMethod[string, string]("whoami").Within(callTime)
	clock  = rpc.NewMethod[string, string]("time").Within(callTime)
)

const callTime = 2 * time.Second

// greeting is what routed messages of the demo carry: when they were sent.
const greeting = behavior.Message[string](1)

// A demo serves echo and whoami, and counts the messages that reach it.
type demo struct {
	rpc.Server
	onText func(from identity.NodeID, text string)

	received, hops, multihop atomic.Uint64
	agent                    atomic.Pointer[agent.Behavior]
}

func newDemo() *demo {
	d := &demo{}
	echo.Handle(&d.Server, func(_ context.Context, s string) (string, error) { return s, nil })
	whoami.Handle(&d.Server, func(ctx context.Context, _ string) (string, error) {
		a := d.agent.Load()
		if a == nil {
			return "", rpc.Errorf(rpc.Overloaded, "still starting")
		}
		return a.Self().String(), nil
	})
	return d
}

func (*demo) Describe() behavior.Info { return behavior.Info{Name: "plexus/demo", Version: 1} }

func (d *demo) OnStart(a *agent.Behavior) error {
	d.agent.Store(a)
	return nil
}

func (d *demo) OnMessage(a *agent.Behavior, m *conn.Message) {
	text, err := greeting.Decode(m)
	if err != nil {
		a.Log().Debug("message ignored", "err", err)
		return
	}
	d.received.Add(1)
	d.hops.Add(uint64(m.Hops))
	if m.Hops > 1 {
		d.multihop.Add(1)
	}
	if d.onText != nil {
		d.onText(m.From, text)
	}
}

// send sends a text to a node.
func (d *demo) send(to router.Route, text string) error {
	a := d.agent.Load()
	if a == nil {
		return fmt.Errorf("the node is still starting")
	}
	return greeting.Send(a, to, text)
}

// A clockServer tells the time.
type clockServer struct {
	rpc.Server
	agent *agent.Behavior
}

func newClock() *clockServer {
	c := &clockServer{}
	clock.Handle(&c.Server, func(context.Context, string) (string, error) { return c.agent.Now().Format(time.RFC3339), nil })
	return c
}

func (c *clockServer) OnStart(a *agent.Behavior) error {
	c.agent = a
	return nil
}

func (*clockServer) Describe() behavior.Info {
	return behavior.Info{Name: "plexus/clock", Version: 1}
}

func (*clockServer) OnMessage(*agent.Behavior, *conn.Message) {}
