package link_test

import (
	"context"
	"fmt"
	"log"

	"github.com/plexus-net/plexus/conn/link"
)

// A pool of three links to one server: each takes its turn, and Feed dials
// another in the place of one that has died.
func ExamplePool_Feed() {
	ctx := context.Background()
	s, err := link.Listen("tcp", "127.0.0.1:0", link.Config[Add, Sum]{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	clients := link.NewPool[Add, Sum](0) // all that come
	defer clients.Close()
	go clients.Feed(ctx, s.Accept) // until the listener is closed

	servers := link.NewPool[Sum, Add](3)
	defer servers.Close()
	go servers.Feed(ctx, func(ctx context.Context) (*link.Link[Sum, Add], error) {
		return link.Dial(ctx, "tcp", s.Addr(), link.Config[Sum, Add]{})
	})

	for n := range 6 {
		if err := servers.Send(ctx, Add{n, n}); err != nil { // waits for a member
			log.Fatal(err)
		}
	}
	all := 0
	for range 6 {
		v, err := clients.Recv(ctx)
		if err != nil {
			log.Fatal(err)
		}
		all += v.A + v.B
	}
	fmt.Println(all)
	// Output: 30
}
