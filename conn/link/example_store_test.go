package link_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

// A store is the oracle of a test: it tells whether something has passed on a
// link, and waits for it, without a hand in the program under test.
func ExampleStore_Find() {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	seen := &link.Store{}
	s, err := link.Listen("tcp", "127.0.0.1:0", link.Config[Add, Sum]{Name: "server", Observer: seen})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	go func() { // the program under test
		l, err := link.Dial(ctx, "tcp", s.Addr(), link.Config[Sum, Add]{Name: "client", Observer: seen})
		if err != nil {
			return
		}
		defer l.Close()
		_ = l.Send(ctx, Add{2, 3})
	}()
	l, err := s.Accept(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go l.Recv(ctx)

	e, err := seen.Find(ctx, "server", func(e link.Event) bool { return e.Kind == link.Received && e.Message == Add{2, 3} })
	fmt.Println(e.Kind, e.Message, err)
	// Output: received {2 3} <nil>
}
