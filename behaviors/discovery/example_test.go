package discovery_test

import (
	"context"
	"fmt"

	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/behaviors/discovery"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A node that joins through a seed. In a program, node.Register(discovery.Service,
// d) takes the place of what the recorder does here.
func Example() {
	key, _ := identity.PrivateKeyFromSeed(make([]byte, 32))
	addr, _ := identity.ParseAddress("quic://192.0.2.1:4100")
	seed := identity.PeerAddress{ID: agenttest.Node("seed"), Addresses: []identity.Address{{Scheme: "quic", Host: "192.0.2.9:4100"}}}

	d := discovery.New(discovery.Config{
		Key:       key,
		Seeds:     []identity.PeerAddress{seed},
		Addresses: func() []identity.Address { return []identity.Address{addr} },
		Services:  func() []conn.Service { return []conn.Service{{ID: 70, Name: "chat"}} },
	})

	rec := agenttest.New(agenttest.Config{Self: key.ID(), Service: discovery.Service})
	if err := d.OnStart(rec.Behavior()); err != nil {
		fmt.Println(err)
	}
	for _, asked := range rec.Take() {
		fmt.Println(asked)
	}
	peers, err := d.Peers(context.Background())
	fmt.Println(len(peers), "peers", err)
	// Output:
	// dial seed2222@quic://192.0.2.9:4100
	// 0 peers <nil>
}
