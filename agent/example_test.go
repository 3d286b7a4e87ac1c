package agent_test

import (
	"errors"
	"fmt"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

// Errors come back at once, and can be branched on.
func ExampleBehavior_Send() {
	rec := agenttest.New(agenttest.Config{})
	a := rec.Behavior() // in a callback, the runtime passes it

	err := a.Send(router.ToConn(7), 1, []byte("hello"))
	if errors.Is(err, agent.ErrNoConn) {
		fmt.Println("gone:", err)
	}
	// Output: gone: agent: no such connection
}

// Gossip to two of the neighbours.
func ExampleBehavior_BroadcastRandom() {
	rec := agenttest.New(agenttest.Config{})
	for range 5 {
		rec.Connect(conn.Info{})
	}
	a := rec.Behavior() // in a callback, the runtime passes it

	fmt.Println("queued to", a.BroadcastRandom(2, 1, []byte("news")))
	// Output: queued to 2
}
