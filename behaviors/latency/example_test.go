package latency_test

import (
	"fmt"
	"time"

	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/behaviors/latency"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// Every measurement is given to a hook, here one that prints. In a program,
// node.Register(latency.Service, l) takes the place of what the recorder does.
func Example() {
	l := latency.New(latency.Config{
		OnMeasure: func(c identity.ConnID, node identity.NodeID, rtt time.Duration) {
			fmt.Println("connection", c, "to", node.Short(), "takes", rtt)
		},
	})

	rec := agenttest.New(agenttest.Config{Service: latency.Service})
	alice := rec.Connect(conn.Info{Node: agenttest.Node("alice")})
	h := l.OnConnect(rec.Behavior(), alice)
	h.(behavior.Opener).OnOpen(rec.Handler(alice.ID))
	probe := rec.TakeCalls()[0].Message
	rec.Advance(12 * time.Millisecond)
	h.OnMessage(rec.Handler(alice.ID), rec.Message(alice, 2, probe.Payload)) // alice's answer

	rtt, ok := l.RTT(alice.Node)
	fmt.Println(rtt, ok)
	// Output:
	// connection 1 to alice222 takes 12ms
	// 12ms true
}
