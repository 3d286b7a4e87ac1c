//go:build unix || windows

package journal_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/journal"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

// A process sends while its peer is not to be reached, and ends. The next process
// of the node, with the same file, has what is left to send.
func Example() {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "alice.journal") // in an application: where it keeps its data
	alice, bob := newKey(), newKey()

	process := func(work func(ctx context.Context, e *endpoint.Endpoint)) {
		store, err := journal.Open(file, journal.Config{})
		if err != nil {
			log.Fatal(err)
		}
		defer store.Close()
		ctx, end := context.WithCancel(context.Background())
		defer end() // the endpoint ends here, and its channel lives on
		e, err := endpoint.New(ctx, alice.ID(), bob.ID(), endpoint.Config{Journal: store.For(bob.ID())})
		if err != nil {
			log.Fatal(err)
		}
		work(ctx, e)
	}

	process(func(ctx context.Context, e *endpoint.Endpoint) {
		fmt.Println("sent:", e.Send(ctx, []byte("pay 5 to carol")))
	})
	process(func(ctx context.Context, e *endpoint.Endpoint) {
		peer, err := endpoint.New(ctx, bob.ID(), alice.ID(), endpoint.Config{})
		if err != nil {
			log.Fatal(err)
		}
		join(ctx, alice, e, bob, peer)
		p, err := peer.Recv(ctx)
		fmt.Println("bob received:", string(p), err)
	})
	// Output:
	// sent: <nil>
	// bob received: pay 5 to carol <nil>
}

func newKey() identity.PrivateKey {
	key, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}
	return key
}

// join connects two endpoints, as package hub does for those of its members.
func join(ctx context.Context, alice identity.PrivateKey, a *endpoint.Endpoint, bob identity.PrivateKey, b *endpoint.Endpoint) {
	lan := mem.NewNetwork()
	l, err := lan.Transport().Listen(ctx, conn.Local{Key: bob}, identity.Address{Scheme: "mem", Host: "bob"})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		c, err := l.Accept(ctx)
		if err == nil {
			err = b.Carry(ctx, c)
		}
		if err != nil {
			log.Fatal(err)
		}
	}()
	c, err := lan.Transport().Dial(ctx, conn.Local{Key: alice}, bob.ID(), l.Addr())
	if err == nil {
		err = a.Carry(ctx, c)
	}
	if err != nil {
		log.Fatal(err)
	}
}
