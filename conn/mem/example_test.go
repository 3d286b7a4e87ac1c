package mem_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

// Two nodes are connected, then cut off from each other.
func Example() {
	ctx := context.Background()
	alice, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}
	bob, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}
	network := mem.NewNetwork()
	l, err := network.Transport().Listen(ctx, conn.Local{Key: bob}, identity.Address{Scheme: "mem", Host: "bob"})
	if err != nil {
		log.Fatal(err)
	}
	c, err := network.Transport().Dial(ctx, conn.Local{Key: alice}, bob.ID(), l.Addr())
	if err != nil {
		log.Fatal(err)
	}
	network.Cut(alice.ID(), bob.ID())
	_, err = c.Write([]byte("hello"))
	fmt.Println(errors.Is(err, mem.ErrCut))
	// Output: true
}
