package hub_test

import (
	"context"
	"fmt"
	"log"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

// Two nodes that know each other. Over memory here; with tcp.New() and
// quic.New() in the place of the transport, the same runs over the network.
func Example() {
	ctx := context.Background()
	lan := mem.NewNetwork()
	var hubs [2]*hub.Hub
	for i := range hubs {
		key, err := identity.Generate()
		if err != nil {
			log.Fatal(err)
		}
		hubs[i], err = hub.New(hub.Config{
			Key:        key,
			Transports: []conn.Transport{lan.Transport()},
			Listen:     []identity.Address{{Scheme: "mem", Host: fmt.Sprint("node", i)}},
		})
		if err != nil {
			log.Fatal(err)
		}
		defer hubs[i].Close(ctx)
		if err := hubs[i].Start(ctx); err != nil {
			log.Fatal(err)
		}
	}
	for i, h := range hubs {
		other := hubs[1-i]
		if _, err := h.Add(identity.PeerAddress{ID: other.Self(), Addresses: other.Addrs()}); err != nil {
			log.Fatal(err)
		}
	}

	if err := hubs[0].Broadcast(ctx, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	from, p, err := hubs[1].Recv(ctx)
	fmt.Println(from == hubs[0].Self(), string(p), err)
	// Output: true hello <nil>
}
