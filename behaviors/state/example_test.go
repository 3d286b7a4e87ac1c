package state_test

import (
	"context"
	"fmt"

	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/behaviors/state"
	"github.com/plexus-net/plexus/identity"
)

func Example() {
	key, err := identity.PrivateKeyFromSeed(make([]byte, 32)) // identity.Generate, outside of tests
	if err != nil {
		panic(err)
	}
	s := state.New(state.Config{Key: key})
	w := s.Watch("config/")

	// node.Register(state.Service, s), and the node starts it.
	if err := s.OnStart(agenttest.New(agenttest.Config{Self: key.ID()}).Behavior()); err != nil {
		panic(err)
	}

	ctx := context.Background()
	if err := s.Set(ctx, "config/rate", []byte("20")); err != nil {
		panic(err)
	}
	for {
		c, ok := w.Poll() // a goroutine of its own would call w.Next(ctx)
		switch {
		case !ok:
			return
		case c.Resync:
			for k, v := range s.Range("config/") {
				fmt.Printf("%s is %s\n", k, v)
			}
			_ = s.Set(ctx, "config/rate", []byte("30"))
			_ = s.Delete(ctx, "config/none")
		default:
			fmt.Printf("%s became %s\n", c.Key, c.Value)
		}
	}
	// Output:
	// config/rate is 20
	// config/rate became 30
}
